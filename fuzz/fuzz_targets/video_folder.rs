//! Folders of videos and of anything else.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/ar-data/tests/damage/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|files: Vec<(String, bool)>| bodies::tree(&files));
