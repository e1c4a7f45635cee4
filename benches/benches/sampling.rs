//! A whole sampling run, from noise to the latents of a clip, by full windows and by active frames,
//! and the time until the first frame is finished; `vae` measures decoding.
//!
//! After a warm-up run of each, the two take turns, one run by full windows and three by active
//! frames, so that a busy machine slows down both. The models, the noise and the latents are
//! written beside the results, for `benches/pytorch`.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use ar_benches::{Results, perturbed_model, seconds, small_model};
use ar_diffusion::{HostNoise, NoiseSource, Sampler, SamplerConfig, Sampling};
use ar_dit::{CausalMask, DitConfig};
use ar_model::{ModelConfig, Precision, Transformer, VideoModel};
use burn::tensor::{Device, Tensor};
use serde::Serialize;

const STEPS: usize = 50;
const AR_STEPS: [usize; 6] = [0, 1, 5, 10, 25, STEPS];

/// Turns at each step difference: at most this many, or fewer, down to the minimum, if they take
/// longer than the limit together.
const MOST_TURNS: usize = 5;
const LEAST_TURNS: usize = 3;
const TIME: Duration = Duration::from_secs(20);
/// Runs by active frames per turn, because one disturbance may last as long as such a run.
const ACTIVE_RUNS: usize = 3;

/// The results at one step difference of one network.
#[derive(Serialize)]
struct Row {
    network: &'static str,
    ar_step: usize,
    turns: usize,
    full_window: Times,
    active_frames: Times,
}

/// Medians over the runs of one sampler.
#[derive(Serialize)]
struct Times {
    seconds: f64,
    first_frame_seconds: f64,
    frame_evaluations: usize,
}

/// One run of one sampler.
struct Run {
    seconds: f64,
    first_frame_seconds: f64,
    frame_evaluations: usize,
    /// `[1, frames, tokens, channels]`
    latents: Tensor<4>,
}

fn main() {
    ar_cli::run_program(bench);
}

fn bench() {
    let device = ar_benches::device();
    let results = Results::new(env!("CARGO_TARGET_TMPDIR"), "sampling");
    let mut rows = Vec::new();
    for (name, config) in networks() {
        let model = perturbed_model(config, &device);
        model
            .save(results.path(name), Precision::Full)
            .expect("the target folder can be written");
        rows.extend(measure(name, &model, &device, &results));
    }
    results.write(&rows);
}

/// The small preset, and the published network with a fifth of its width and number of blocks, both
/// with the mask that lets nothing flow back in time.
fn networks() -> [(&'static str, ModelConfig); 2] {
    let larger = DitConfig {
        hidden_size: 256,
        depth: 6,
        num_heads: 4,
        causal_mask: CausalMask::TemporalCausal,
        ..DitConfig::published()
    };
    let larger = ModelConfig {
        transformer: Some(larger),
        ..ModelConfig::default()
    };
    [("small", small_model()), ("larger", larger)]
}

/// Measures every step difference, and writes the noise and the last latents of both samplers to
/// files.
fn measure(name: &'static str, model: &VideoModel, device: &Device, results: &Results) -> Vec<Row> {
    let transformer = model.transformer().expect("a transformer");
    let dit = transformer.dit().config();
    let frames = dit.num_frames;
    let noise = HostNoise::new(0, [1, dit.tokens_per_frame, dit.in_channels], device);
    let start = (0..frames).map(|frame| noise.start(frame)).collect();
    let start = Tensor::cat(start, 1).into_data();
    results.write_tensors(&format!("{name}/noise.safetensors"), &[("noise", start)]);

    let samplers = AR_STEPS.map(|ar_step| {
        let config = SamplerConfig {
            steps: STEPS,
            ar_step,
            eta: 0.0,
        };
        let sampler = model.diffusion().sampler(config, frames, frames);
        (ar_step, sampler.expect("a sampler"))
    });
    for method in [full, active] {
        run(method, &samplers[0].1, transformer, &noise, device);
    }

    let mut latents = Vec::new();
    let rows = samplers.map(|(ar_step, sampler)| {
        let (mut full_window, mut active_frames) = (Vec::new(), Vec::new());
        let begin = Instant::now();
        while full_window.len() < LEAST_TURNS
            || (full_window.len() < MOST_TURNS && begin.elapsed() < TIME)
        {
            full_window.push(run(full, &sampler, transformer, &noise, device));
            for _ in 0..ACTIVE_RUNS {
                active_frames.push(run(active, &sampler, transformer, &noise, device));
            }
        }
        for (method, runs) in [
            ("full_window", &full_window),
            ("active_frames", &active_frames),
        ] {
            let last = &runs[runs.len() - 1];
            let values = last.latents.to_data();
            latents.push((format!("{method}/ar_step_{ar_step}"), values));
        }
        let row = Row {
            network: name,
            ar_step,
            turns: full_window.len(),
            full_window: medians(&full_window),
            active_frames: medians(&active_frames),
        };
        println!(
            "sampling/{name}/ar_step_{ar_step}: full window {:.3} s, active frames {:.3} s",
            row.full_window.seconds, row.active_frames.seconds
        );
        row
    });
    results.write_tensors(&format!("{name}/latents.safetensors"), &latents);
    rows.into()
}

type Method = for<'a> fn(&'a Sampler, &'a Transformer, &'a HostNoise) -> Sampling<'a, HostNoise>;

fn full<'a>(
    sampler: &'a Sampler,
    transformer: &'a Transformer,
    noise: &'a HostNoise,
) -> Sampling<'a, HostNoise> {
    let context = transformer.sampling_context(None, 1, 1.0);
    sampler.run(transformer, noise, context.expect("a context"))
}

fn active<'a>(
    sampler: &'a Sampler,
    transformer: &'a Transformer,
    noise: &'a HostNoise,
) -> Sampling<'a, HostNoise> {
    let context = transformer.sampling_context(None, 1, 1.0);
    let causal = transformer.causal().expect("a causal network");
    sampler.run_active_frames(causal, noise, context.expect("a context"))
}

fn run(
    method: Method,
    sampler: &Sampler,
    transformer: &Transformer,
    noise: &HostNoise,
    device: &Device,
) -> Run {
    let start = Instant::now();
    let (mut first_frame_seconds, mut frame_evaluations) = (None, 0);
    let mut latents = Vec::new();
    for iteration in method(sampler, transformer, noise) {
        frame_evaluations += iteration.frame_evaluations;
        if !iteration.finished.is_empty() {
            first_frame_seconds.get_or_insert_with(|| seconds(start, device));
        }
        latents.extend(iteration.finished.into_iter().map(|frame| frame.latent));
    }
    Run {
        seconds: seconds(start, device),
        first_frame_seconds: first_frame_seconds.expect("a clip has a first frame"),
        frame_evaluations,
        latents: Tensor::cat(latents, 1),
    }
}

fn medians(runs: &[Run]) -> Times {
    let median = |time: fn(&Run) -> f64| {
        let mut times: Vec<f64> = runs.iter().map(time).collect();
        times.sort_by(f64::total_cmp);
        f64::midpoint(times[(times.len() - 1) / 2], times[times.len() / 2])
    };
    Times {
        seconds: median(|run| run.seconds),
        first_frame_seconds: median(|run| run.first_frame_seconds),
        frame_evaluations: runs[0].frame_evaluations,
    }
}
