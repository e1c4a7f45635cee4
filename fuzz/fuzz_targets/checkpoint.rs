//! Checkpoints of runs: the number of a file, and its contents.
#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../crates/ar-train/tests/damage/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (file, bytes) = input;
    bodies::checkpoint(usize::from(file) % bodies::FILES.len(), bytes);
});
