//! The report at the end of `generate`.

use std::time::Duration;

use ar_cli::{memory, without_controls};
use ar_model::{ModelConfig, SamplingMethod};
use ar_pipeline::{ModelSource, Outcome, Outputs, ResolvedOptions};
use serde::Serialize;

use crate::cli::GenerateArgs;
use crate::output::{STDOUT, shown};
use crate::report::ModelReport;

/// The JSON line of `generate`.
#[derive(Debug, Serialize)]
pub(super) struct GenerateReport {
    /// The videos that were written; `-` is the standard output.
    pub outputs: Vec<String>,
    /// The file of latents.
    pub latents: Option<String>,
    /// The requested file for latents, written or not.
    #[serde(skip)]
    asked_latents: Option<String>,
    /// The video of how the video was denoised.
    pub denoising: Option<String>,
    /// Frames per video, including the prefix.
    pub frames: usize,
    /// Frames of the prefix.
    pub prefix_frames: usize,
    /// Number of videos.
    pub count: usize,
    /// Whether Ctrl-C ended the run early.
    pub interrupted: bool,
    /// Frames that were sampled, over all videos: `(frames - prefix_frames) count` unless
    /// interrupted.
    pub frames_sampled: usize,
    /// Frames per second that the videos play at; none without a video.
    pub fps: Option<f64>,
    /// Factor by which frames were enlarged; none without a video.
    pub scale: Option<usize>,
    /// Format of the videos; none without a video.
    pub format: Option<&'static str>,
    /// Seconds by phase.
    pub seconds: GenerateSeconds,
    /// From the start of sampling.
    pub first_frame_seconds: FirstFrameSeconds,
    /// Sampled frames per second, over all videos.
    pub frames_per_second: FramesPerSecond,
    /// Calls of the network: one per iteration and batch, with or without guidance. A prefix that
    /// is longer than the window, and is evaluated in pieces, counts as one.
    pub network_evaluations: usize,
    /// Frames that went through the network: over iterations, videos, and both halves of guidance.
    pub frame_evaluations: usize,
    /// Peak memory of the process; none if unknown.
    pub peak_memory_bytes: Option<u64>,
    /// Name of the device.
    pub device: String,
    /// The model's source and name.
    pub model: ModelReport,
    /// What was sampled.
    pub sampler: SamplerReport,
}

/// Seconds by phase. Decoding and encoding run in parallel with sampling, so the phases overlap.
#[derive(Debug, Serialize)]
pub(super) struct GenerateSeconds {
    pub load: f64,
    /// Encoding the prefix in the VAE.
    pub prefix: f64,
    pub sample: f64,
    /// In the VAE.
    pub decode: f64,
    /// In the video encoder.
    pub encode: f64,
    /// From start to end, including everything else.
    pub total: f64,
}

/// Times of the first frame; none if there was no such frame.
#[derive(Debug, Serialize)]
pub(super) struct FirstFrameSeconds {
    /// Until the first latent was finished.
    pub latent: Option<f64>,
    /// Until it was decoded and encoded; with a temporal VAE, until its whole clip was.
    pub decoded: Option<f64>,
}

/// Frames per second; none if no frame was sampled.
#[derive(Debug, Serialize)]
pub(super) struct FramesPerSecond {
    /// Over the time spent in the sampler.
    pub sampling: Option<f64>,
    /// Over the time from the start of sampling until the last video was complete.
    pub with_decoding: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct SamplerReport {
    pub method: SamplingMethod,
    pub steps: usize,
    pub ar_step: usize,
    pub eta: f64,
    pub guidance: f64,
    pub class: Option<usize>,
    pub seed: u64,
    /// File of the starting noise, if it does not come from the seed.
    pub noise: Option<String>,
    pub window: usize,
    pub iterations: usize,
    pub batch: usize,
}

/// The run that a report is about.
pub(super) struct Run<'a> {
    pub args: &'a GenerateArgs,
    pub source: &'a ModelSource,
    pub config: &'a ModelConfig,
    pub options: &'a ResolvedOptions,
    pub outputs: &'a Outputs,
    pub device_name: String,
    pub load: Duration,
    pub total: Duration,
    pub outcome: &'a Outcome,
}

impl GenerateReport {
    pub(super) fn new(run: Run<'_>) -> Self {
        let Run {
            args,
            options,
            outputs,
            outcome,
            ..
        } = run;
        let shown_path = |path: &std::path::PathBuf| path.display().to_string();
        let seconds = |time: Duration| time.as_secs_f64();
        let video = outputs.video.as_ref();
        Self {
            outputs: outcome.outputs.iter().map(shown).collect(),
            latents: outcome.latents.as_ref().map(shown_path),
            asked_latents: outputs.latents.as_ref().map(shown_path),
            denoising: args
                .denoising
                .as_ref()
                .filter(|_| outcome.denoising)
                .map(shown_path),
            frames: options.frames,
            prefix_frames: options.prefix_frames(),
            count: options.videos.len(),
            interrupted: outcome.interrupted,
            frames_sampled: outcome.frames_sampled(),
            fps: video.map(|video| video.fps),
            scale: video.map(|video| video.enlargement.factor),
            format: video.map(|video| video.format.name()),
            seconds: GenerateSeconds {
                load: seconds(run.load),
                prefix: seconds(outcome.prefix),
                sample: seconds(outcome.sample),
                decode: seconds(outcome.decode),
                encode: seconds(outcome.encode),
                total: seconds(run.total),
            },
            first_frame_seconds: FirstFrameSeconds {
                latent: outcome.first_latent.map(seconds),
                decoded: outcome.first_decoded.map(seconds),
            },
            frames_per_second: FramesPerSecond::new(outcome),
            network_evaluations: outcome.network_evaluations,
            frame_evaluations: outcome.frame_evaluations,
            peak_memory_bytes: memory::peak(),
            device: run.device_name,
            model: ModelReport::new(run.source, run.config),
            sampler: SamplerReport {
                method: options.method,
                steps: options.config.steps,
                ar_step: options.config.ar_step,
                eta: options.config.eta,
                guidance: options.guidance,
                class: options.classes.single(),
                seed: options.seed,
                noise: args.sampling.noise.as_ref().map(shown_path),
                window: options.window,
                iterations: options.sampler.plan().iterations(),
                batch: options.batch,
            },
        }
    }

    /// What was written, as text.
    pub(super) fn summary(&self, options: &ResolvedOptions, model: &ModelConfig) -> String {
        let seconds = &self.seconds;
        let mut text = String::new();
        if let (Some(vae), Some(fps)) = (&model.vae, self.fps) {
            text += &if self.outputs.is_empty() {
                "interrupted before a frame was finished: no video is written\n".into()
            } else {
                format!(
                    "{what} of {size}x{size} at {fps} fps in {:.1} s (sampling {:.1} s, decoding \
                     {:.1} s)\n",
                    seconds.total,
                    seconds.sample,
                    seconds.decode,
                    what = self.videos(),
                    size = vae.image_size() * self.scale.unwrap_or(1),
                )
            };
        }
        if let Some(path) = &self.asked_latents {
            let [tokens, channels] = options.latent;
            let shape = [self.count, self.frames, tokens, channels];
            text += &match &self.latents {
                None => format!("{}: interrupted, not written\n", without_controls(path)),
                Some(path) => format!(
                    "{}: latents {shape:?} in {:.1} s\n",
                    without_controls(path),
                    seconds.total
                ),
            };
        }
        text
    }

    /// The videos and their frames.
    fn videos(&self) -> String {
        let Self { frames, count, .. } = *self;
        let names = match self.outputs.as_slice() {
            [path] if path == STDOUT => "standard output".into(),
            [path] => path.clone(),
            paths => format!("{} to {}", paths[0], paths[paths.len() - 1]),
        };
        let names = without_controls(names);
        if self.interrupted {
            let kept = self.frames_sampled + self.prefix_frames * self.outputs.len();
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
}

impl FramesPerSecond {
    fn new(outcome: &Outcome) -> Self {
        let frames = outcome.frames_sampled();
        let over = |time: Duration| frames as f64 / time.as_secs_f64();
        Self {
            sampling: (frames > 0).then(|| over(outcome.sample)),
            with_decoding: outcome.first_decoded.map(|_| over(outcome.total)),
        }
    }
}
