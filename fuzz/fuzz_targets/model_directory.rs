//! Model directories.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/ar-model/tests/damage/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|files: (&str, &[u8])| bodies::directory(files.0, files.1));
