//! Latents of the reference implementation.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/ar-data/tests/damage/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::npy(bytes));
