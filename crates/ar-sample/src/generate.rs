//! `ar-sample generate`

use std::time::{Duration, Instant};

use anyhow::bail;
use ar_diffusion::SampledFrame;
use ar_model::VideoModel;
use burn::tensor::Device;

use crate::cli::GenerateArgs;
use crate::model::{ModelSource, open_device};
use crate::noise::{noise_source, save_latents};
use crate::output::VideoSink;
use crate::progress::Progress;
use crate::report::{
    GenerateReport, GenerateSeconds, ModelReport, SamplerReport, json_line, peak_memory, timed,
};
use crate::settings::Settings;

/// What sampling cost.
#[derive(Debug, Default)]
struct Cost {
    sample: Duration,
    decode: Duration,
    encode: Duration,
    first_frame: Option<Duration>,
    network_evaluations: usize,
    frame_evaluations: usize,
}

/// Generates videos and says what was written.
pub fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let source = ModelSource::new(args.model.model.as_deref());
    let settings = Settings::new(args, &source.config()?)?;
    let (device_name, device) = open_device(&args.model.device)?;
    settings.check_outputs()?;

    let mut load = Duration::ZERO;
    let model = timed(&mut load, || source.load(&device))?;
    let cost = sample(&model, &settings, &device, args.video.quiet)?;
    let total = start.elapsed();

    let report = GenerateReport {
        outputs: outputs(&settings),
        latents: settings
            .latents
            .as_ref()
            .map(|path| path.display().to_string()),
        frames: settings.frames,
        count: settings.count,
        fps: settings.video.as_ref().map(|video| video.fps),
        format: settings.video.as_ref().map(|video| video.format.name()),
        seconds: GenerateSeconds {
            load: load.as_secs_f64(),
            sample: cost.sample.as_secs_f64(),
            decode: cost.decode.as_secs_f64(),
            encode: cost.encode.as_secs_f64(),
            total: total.as_secs_f64(),
        },
        first_frame_seconds: cost.first_frame.unwrap_or_default().as_secs_f64(),
        network_evaluations: cost.network_evaluations,
        frame_evaluations: cost.frame_evaluations,
        peak_memory_bytes: peak_memory(),
        device: device_name,
        model: ModelReport {
            source: source.describe(),
            name: model.config().name.clone(),
        },
        sampler: SamplerReport {
            method: settings.method,
            steps: settings.config.steps,
            ar_step: settings.config.ar_step,
            eta: settings.config.eta,
            guidance: settings.guidance,
            class: settings.class,
            seed: settings.seed,
            noise: args
                .sampling
                .noise
                .as_ref()
                .map(|path| path.display().to_string()),
            window: settings.window,
            iterations: settings.sampler.plan().iterations(),
            batch: settings.batch,
        },
    };
    crate::print(&summary(&report, &settings, &model))?;
    if args.video.json {
        crate::print(&json_line(&report))?;
    }
    Ok(())
}

/// Samples batch by batch and writes every frame as soon as it is finished.
fn sample(
    model: &VideoModel,
    settings: &Settings,
    device: &Device,
    quiet: bool,
) -> anyhow::Result<Cost> {
    let Settings { count, batch, .. } = *settings;
    let transformer = model.transformer()?;
    let iterations = settings.sampler.plan().iterations() * count.div_ceil(batch);
    let mut progress = Progress::new(iterations, count * settings.frames, quiet);
    let mut cost = Cost::default();
    let mut videos = vec![Vec::new(); count];
    let mut frames_finished = 0;
    let start = Instant::now();

    for first in (0..count).step_by(batch) {
        let batch = batch.min(count - first);
        let seed = settings.seed;
        let noise = settings.noise.as_ref();
        let noise = noise_source(noise, seed, (first, batch), settings.latent, device);
        let context = transformer.sampling_context(settings.class, batch, settings.guidance)?;
        let mut sink = match &settings.video {
            Some(video) => {
                let writers = (first..first + batch)
                    .map(|index| video.create(&settings.path(video, index)))
                    .collect::<Result<_, _>>()?;
                Some(VideoSink::new(model, writers, settings.window))
            }
            None => None,
        };

        let mut run = transformer.sample(&settings.sampler, noise.as_ref(), context);
        loop {
            // Reading the finished latents waits for the device, so the times are true.
            let Some((iteration, values)) = timed(&mut cost.sample, || {
                let iteration = run.next()?;
                let values: Vec<Vec<f32>> = iteration.finished.iter().map(values).collect();
                Some((iteration, values))
            }) else {
                break;
            };
            cost.network_evaluations += 1;
            cost.frame_evaluations += iteration.frame_evaluations;
            for (frame, values) in iteration.finished.into_iter().zip(values) {
                if values.iter().any(|value| !value.is_finite()) {
                    bail!(
                        "frame {} came out of sampling as NaN or infinity; a lower --guidance or \
                         --eta may help, or the model is broken",
                        frame.index
                    );
                }
                if settings.latents.is_some() {
                    let each = values.chunks_exact(values.len() / batch);
                    for (video, values) in videos[first..].iter_mut().zip(each) {
                        video.extend_from_slice(values);
                    }
                }
                if let Some(sink) = &mut sink {
                    sink.write(frame.latent)?;
                }
                cost.first_frame.get_or_insert_with(|| start.elapsed());
                frames_finished += batch;
            }
            progress.update(cost.network_evaluations, frames_finished);
        }
        if let Some(sink) = sink {
            let [decode, encode] = sink.finish()?;
            cost.decode += decode;
            cost.encode += encode;
        }
    }
    if let Some(path) = &settings.latents {
        let [tokens, channels] = settings.latent;
        save_latents(path, &videos, [settings.frames, tokens, channels])?;
    }
    Ok(cost)
}

fn values(frame: &SampledFrame) -> Vec<f32> {
    let data = frame.latent.clone().into_data();
    data.try_into_vec().expect("latents are 32-bit floats")
}

fn outputs(settings: &Settings) -> Vec<String> {
    let Some(video) = &settings.video else {
        return Vec::new();
    };
    (0..settings.count)
        .map(|index| settings.path(video, index).display().to_string())
        .collect()
}

/// What was written, for a person.
fn summary(report: &GenerateReport, settings: &Settings, model: &VideoModel) -> String {
    let GenerateReport { frames, count, .. } = *report;
    let seconds = &report.seconds;
    let mut text = String::new();
    if let (Some(vae), Some(video)) = (&model.config().vae, &settings.video) {
        let what = match report.outputs.as_slice() {
            [path] => format!("{path}: {frames} frames"),
            paths => format!(
                "{} to {}: {count} videos of {frames} frames",
                paths[0],
                paths[count - 1]
            ),
        };
        text += &format!(
            "{what} of {size}x{size} at {fps} fps in {:.1} s (sampling {:.1} s, decoding {:.1} s)\n",
            seconds.total,
            seconds.sample,
            seconds.decode,
            size = vae.image_size(),
            fps = video.fps,
        );
    }
    if let Some(path) = &report.latents {
        let [tokens, channels] = settings.latent;
        let shape = [count, frames, tokens, channels];
        text += &format!("{path}: latents {shape:?} in {:.1} s\n", seconds.total);
    }
    text
}
