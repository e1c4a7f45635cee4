//! A video far longer than the window, from noise to latents that are dropped: speed and memory
//! should stay constant.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use ar_benches::{Results, seconds, small_diffusion};
use ar_cli::memory;
use ar_diffusion::{HostNoise, SamplerConfig};
use ar_model::{ModelConfig, Transformer};
use serde::Serialize;

const FRAMES: usize = 2000;
/// Frames between two measurements.
const PART: usize = 250;

/// The measurements of one part.
#[derive(Serialize)]
struct Row {
    /// Frames finished at its end.
    frames: usize,
    frames_per_second: f64,
    /// Resident memory at its end, if known.
    memory_bytes: Option<u64>,
}

fn main() {
    ar_cli::run_program(bench);
}

fn bench() {
    let device = ar_benches::device();
    let run = small_diffusion();
    let transformer = Transformer::new(&run.transformer, &run.conditioning, &device);
    let transformer = transformer.expect("a transformer");
    let context = transformer.sampling_context(None, 1, 1.0);
    let dit = &run.transformer;
    let noise = HostNoise::new(0, [1, dit.tokens_per_frame, dit.in_channels], &device);
    let model = ModelConfig {
        diffusion: run.diffusion,
        transformer: Some(run.transformer.clone()),
        ..ModelConfig::default()
    };
    let sampler = model
        .sampler(SamplerConfig::default(), FRAMES)
        .expect("a preset without an end");

    let mut rows = Vec::new();
    let mut start = Instant::now();
    let sampling = transformer.sample(&sampler, &noise, context.expect("a context"));
    for frame in sampling.flat_map(|iteration| iteration.finished) {
        let frames = frame.index + 1;
        if !frames.is_multiple_of(PART) {
            continue;
        }
        let row = Row {
            frames,
            frames_per_second: PART as f64 / seconds(start, &device),
            memory_bytes: memory::resident(),
        };
        println!(
            "long_stream: {frames} frames, {:.1} frames/s",
            row.frames_per_second
        );
        rows.push(row);
        start = Instant::now();
    }
    Results::new(env!("CARGO_TARGET_TMPDIR"), "long_stream").write(&rows);
}
