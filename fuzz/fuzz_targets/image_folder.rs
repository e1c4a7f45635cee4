//! Folders of images.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/ar-video/tests/it/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|files: Vec<(String, Vec<u8>)>| bodies::folder(&files));
