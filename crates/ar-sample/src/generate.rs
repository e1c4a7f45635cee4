//! `ar-sample generate`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ar_model::VideoModel;
use burn_train::Interrupter;

use crate::cli::GenerateArgs;
use crate::generation::{Generation, Outcome};
use crate::model::{ModelSource, open_device};
use crate::output::STDOUT;
use crate::report::{
    FirstFrameSeconds, FramesPerSecond, GenerateReport, GenerateSeconds, ModelReport,
    SamplerReport, json_line, peak_memory, timed,
};
use crate::settings::Settings;

/// As shells report a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Generates videos and says what was written.
pub fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let source = ModelSource::new(args.model.model.as_deref());
    let settings = Settings::new(args, &source.config()?)?;
    let (device_name, device) = open_device(&args.model.device)?;
    settings.check_outputs()?;
    let interrupter = interrupter()?;

    let mut load = Duration::ZERO;
    let model = timed(&mut load, || source.load(&device))?;
    let quiet = args.video.quiet;
    let outcome = Generation::new(&model, &settings, &device, &interrupter, quiet)?.run()?;

    let report = GenerateReport {
        outputs: outputs(&settings, &outcome),
        latents: settings
            .latents
            .as_ref()
            .filter(|_| !outcome.interrupted)
            .map(|path| path.display().to_string()),
        denoising: args
            .denoising
            .as_ref()
            .filter(|_| outcome.denoising)
            .map(|path| path.display().to_string()),
        frames: settings.frames,
        prefix_frames: settings.prefix.len(),
        count: settings.videos.len(),
        interrupted: outcome.interrupted,
        frames_sampled: outcome.sampled.iter().sum(),
        fps: settings.video.as_ref().map(|video| video.fps),
        format: settings.video.as_ref().map(|video| video.format.name()),
        seconds: GenerateSeconds {
            load: load.as_secs_f64(),
            prefix: outcome.prefix.as_secs_f64(),
            sample: outcome.sample.as_secs_f64(),
            decode: outcome.decode.as_secs_f64(),
            encode: outcome.encode.as_secs_f64(),
            total: start.elapsed().as_secs_f64(),
        },
        first_frame_seconds: FirstFrameSeconds {
            latent: outcome.first_latent.map(|time| time.as_secs_f64()),
            decoded: outcome.first_decoded.map(|time| time.as_secs_f64()),
        },
        frames_per_second: frames_per_second(&outcome),
        network_evaluations: outcome.network_evaluations,
        frame_evaluations: outcome.frame_evaluations,
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
    let tell = match settings.is_stdout_taken() {
        true => crate::print_aside,
        false => crate::print,
    };
    tell(&summary(&report, &settings, &model))?;
    if args.video.json {
        tell(&json_line(&report))?;
    }
    Ok(match outcome.interrupted {
        true => ExitCode::from(INTERRUPTED),
        false => ExitCode::SUCCESS,
    })
}

/// Ctrl-C once keeps the frames that are finished, twice stops at once.
fn interrupter() -> anyhow::Result<Interrupter> {
    let interrupter = Interrupter::new();
    let handle = interrupter.clone();
    ctrlc::set_handler(move || {
        if handle.should_stop() {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("keeping the finished frames; press Ctrl-C again to stop at once");
        handle.stop(None);
    })?;
    Ok(interrupter)
}

fn frames_per_second(outcome: &Outcome) -> FramesPerSecond {
    let frames: usize = outcome.sampled.iter().sum();
    let over = |time: Duration| frames as f64 / time.as_secs_f64();
    FramesPerSecond {
        sampling: (frames > 0).then(|| over(outcome.sample)),
        with_decoding: outcome.first_decoded.map(|_| over(outcome.total)),
    }
}

/// The videos of which a frame was sampled; the others are not there.
fn outputs(settings: &Settings, outcome: &Outcome) -> Vec<String> {
    let Some(video) = &settings.video else {
        return Vec::new();
    };
    let written = settings.videos.clone().zip(&outcome.sampled);
    written
        .filter(|(_, sampled)| **sampled > 0)
        .map(|(index, _)| settings.path(video, index).display().to_string())
        .collect()
}

/// What was written, for a person.
fn summary(report: &GenerateReport, settings: &Settings, model: &VideoModel) -> String {
    let seconds = &report.seconds;
    let mut text = String::new();
    if let (Some(vae), Some(video)) = (&model.config().vae, &settings.video) {
        text += &match report.outputs.is_empty() {
            true => "interrupted before a frame was finished: no video is written\n".into(),
            false => format!(
                "{what} of {size}x{size} at {fps} fps in {:.1} s (sampling {:.1} s, decoding {:.1} \
                 s)\n",
                seconds.total,
                seconds.sample,
                seconds.decode,
                what = videos(report),
                size = vae.image_size(),
                fps = video.fps,
            ),
        };
    }
    if let Some(path) = &settings.latents {
        let [tokens, channels] = settings.latent;
        let shape = [report.count, report.frames, tokens, channels];
        text += &match report.interrupted {
            true => format!("{}: interrupted, not written\n", path.display()),
            false => format!(
                "{}: latents {shape:?} in {:.1} s\n",
                path.display(),
                seconds.total
            ),
        };
    }
    text
}

/// The videos and their frames.
fn videos(report: &GenerateReport) -> String {
    let GenerateReport { frames, count, .. } = *report;
    let names = match report.outputs.as_slice() {
        [path] if path == STDOUT => "standard output".into(),
        [path] => path.clone(),
        paths => format!("{} to {}", paths[0], paths[paths.len() - 1]),
    };
    if report.interrupted {
        let kept = report.frames_sampled + report.prefix_frames * report.outputs.len();
        return format!(
            "{names}: interrupted, kept {kept} of {} frames",
            count * frames
        );
    }
    match count {
        1 => format!("{names}: {frames} frames"),
        count => format!("{names}: {count} videos of {frames} frames"),
    }
}
