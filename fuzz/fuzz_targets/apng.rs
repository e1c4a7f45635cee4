//! PNG files, animated or not.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/ar-video/tests/it/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::file(bodies::PNG, bytes));
