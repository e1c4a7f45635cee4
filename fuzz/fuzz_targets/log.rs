//! Logs of runs.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/ar-train/tests/damage/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::log(bytes));
