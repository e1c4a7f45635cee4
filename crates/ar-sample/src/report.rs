//! What a run tells at its end.

use std::time::{Duration, Instant};

use ar_model::SamplingMethod;
use serde::Serialize;

/// Adds the time that `work` takes to `total`.
pub fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

/// The JSON line of `generate`.
#[derive(Debug, Serialize)]
pub struct GenerateReport {
    /// The videos that were written; `-` is the standard output.
    pub outputs: Vec<String>,
    /// The file of latents.
    pub latents: Option<String>,
    /// The video of how the video was denoised.
    pub denoising: Option<String>,
    /// Frames of each video, those of the prefix included.
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
    /// Format of the videos; none without a video.
    pub format: Option<&'static str>,
    /// Seconds by phase.
    pub seconds: GenerateSeconds,
    /// From the start of sampling.
    pub first_frame_seconds: FirstFrameSeconds,
    /// Sampled frames a second, over all videos.
    pub frames_per_second: FramesPerSecond,
    /// Calls of the network: one an iteration and batch, guided or not. The pieces that a prefix
    /// longer than the window comes in count as one.
    pub network_evaluations: usize,
    /// Frames that went through the network: over iterations, videos, and both halves of guidance.
    pub frame_evaluations: usize,
    /// Most memory that the process held; none where the system does not say.
    pub peak_memory_bytes: Option<u64>,
    /// Name of the device.
    pub device: String,
    /// Where the model came from, and what it calls itself.
    pub model: ModelReport,
    /// What was sampled.
    pub sampler: SamplerReport,
}

/// Decoding and encoding run beside sampling: the phases overlap.
#[derive(Debug, Serialize)]
pub struct GenerateSeconds {
    pub load: f64,
    /// Encoding the prefix in the VAE.
    pub prefix: f64,
    pub sample: f64,
    /// In the VAE.
    pub decode: f64,
    /// In the video encoder.
    pub encode: f64,
    /// From start to end, the rest included.
    pub total: f64,
}

/// None where there was no such frame.
#[derive(Debug, Serialize)]
pub struct FirstFrameSeconds {
    /// Until the first latent was finished.
    pub latent: Option<f64>,
    /// Until it was decoded and encoded; with a temporal VAE, until its clip was.
    pub decoded: Option<f64>,
}

/// None where no frame was sampled.
#[derive(Debug, Serialize)]
pub struct FramesPerSecond {
    /// Over the time spent in the sampler.
    pub sampling: Option<f64>,
    /// Over the time from the start of sampling until the last video was complete.
    pub with_decoding: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct ModelReport {
    pub source: String,
    pub name: String,
}

#[derive(Debug, Serialize)]
pub struct SamplerReport {
    pub method: SamplingMethod,
    pub steps: usize,
    pub ar_step: usize,
    pub eta: f64,
    pub guidance: f64,
    pub class: Option<usize>,
    pub seed: u64,
    /// File of the starting noise, where it is not that of the seed.
    pub noise: Option<String>,
    pub window: usize,
    pub iterations: usize,
    pub batch: usize,
}

/// The JSON line of `reconstruct`.
#[derive(Debug, Serialize)]
pub struct ReconstructReport {
    pub output: String,
    pub frames: usize,
    /// Peak signal-to-noise ratio in decibels; none for a perfect reconstruction.
    pub psnr: Option<f64>,
    /// Structural similarity; none for frames smaller than its window.
    pub ssim: Option<f64>,
    pub seconds: ReconstructSeconds,
    pub peak_memory_bytes: Option<u64>,
    pub device: String,
    pub model: ModelReport,
}

#[derive(Debug, Serialize)]
pub struct ReconstructSeconds {
    pub load: f64,
    /// Reading and cropping the video.
    pub read: f64,
    /// In the VAE.
    pub reconstruct: f64,
    /// In the video encoder.
    pub encode: f64,
    pub total: f64,
}

/// A report as one line.
pub fn json_line(report: &impl Serialize) -> String {
    let json = serde_json::to_string(report).expect("a report is plain values");
    json + "\n"
}

/// The most memory that this process held, in bytes.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
