//! `ar-sample reconstruct`

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ar_cli::{INTERRUPTED, Interrupt, memory, without_controls};
use ar_metrics::{PsnrSum, SSIM_WINDOW, ssim};
use ar_model::SamplingConfig;
use ar_pipeline::{Pipeline, timed};
use ar_video::{Ffmpeg, Frame, VideoError, VideoReader, square_crop};
use serde::Serialize;

use crate::cli::ReconstructArgs;
use crate::devices::open_device;
use crate::output::{KEEPING, enlarged, finish, shown, video_target};
use crate::progress::Progress;
use crate::report::{ModelReport, json_line};

/// Passes a video through a VAE, a few frames at a time, and reports what was lost. An interrupt keeps the frames that
/// are done, if there are any.
pub(crate) fn run(args: &ReconstructArgs) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let interrupt = Interrupt::listen(KEEPING)?;
    let source = args.model.source();
    let config = source.config()?;
    let vae = config.vae.as_ref().context("this model has no VAE")?;
    let size = vae.image_size();
    let fps = args.video.fps.unwrap_or(config.sampling.fps);
    let target = video_target(
        args.out.as_deref(),
        args.video.format,
        fps,
        "reconstruction",
    )?;
    let target = enlarged(target, &args.video, size, &SamplingConfig::default())?;
    let side = size * target.enlargement.factor;
    if target.would_replace(&args.input) {
        bail!(
            "--out would change {}, which is the video to reconstruct: write to another path",
            args.input.display()
        );
    }
    target.check_size([size, size])?;
    let ffmpeg = Ffmpeg::from_env().with_interrupt(interrupt.flag());
    let mut reader = match VideoReader::open_with(&args.input, &ffmpeg) {
        Err(VideoError::Interrupted { .. }) => return Ok(without_frames()),
        reader => reader?,
    };
    let (device_name, device) = open_device(&args.model.device)?;
    target.check_one()?;
    let stdout_is_used = target.destination.is_stdout();
    let mut writer = target.create(&target.destination)?;

    let mut seconds = Seconds::default();
    let pipeline = timed(&mut seconds.load, || {
        Pipeline::from_source(&source, &device)
    })?;
    if let Some(note) = source.note().filter(|_| !args.video.quiet) {
        ar_cli::tell(note);
    }
    let mut progress = Progress::without_end("frame", String::new(), args.video.quiet);
    let mut quality = Quality::new(size);
    while !interrupt.is_set() {
        let originals = timed(&mut seconds.read, || {
            let frames = reader.by_ref().take(pipeline.frames_at_once());
            frames
                .map(|frame| Ok(square_crop(&frame?, size)))
                .collect::<Result<Vec<Frame>, VideoError>>()
        });
        let originals = match originals {
            Ok(originals) if originals.is_empty() => break,
            Err(VideoError::Interrupted { .. }) => break,
            originals => originals?,
        };
        let frames = timed(&mut seconds.reconstruct, || {
            pipeline.reconstruct(&originals)
        })?;
        timed(&mut seconds.encode, || {
            frames.iter().try_for_each(|frame| writer.write(frame))
        })?;
        quality.add(&originals, &frames);
        ar_cli::work_begins();
        progress.update(quality.frames, quality.to_string());
    }
    drop(progress);
    if quality.frames == 0 {
        return Ok(without_frames());
    }
    timed(&mut seconds.encode, || writer.finish())?;

    let interrupted = interrupt.is_set();
    let total = start.elapsed().as_secs_f64();
    let report = ReconstructReport {
        output: shown(&target.destination),
        frames: quality.frames,
        interrupted,
        psnr: Some(quality.psnr.psnr()).filter(|psnr| psnr.is_finite()),
        ssim: quality.ssim(),
        seconds: ReconstructSeconds {
            load: seconds.load.as_secs_f64(),
            read: seconds.read.as_secs_f64(),
            reconstruct: seconds.reconstruct.as_secs_f64(),
            encode: seconds.encode.as_secs_f64(),
            total,
        },
        peak_memory_bytes: memory::peak(),
        device: device_name,
        model: ModelReport::new(&source, &config),
    };
    let mut text = format!(
        "{}: {}{} frames of {side}x{side} at {fps} fps in {total:.1} s, {quality}\n",
        without_controls(&report.output),
        if interrupted {
            "interrupted, kept "
        } else {
            ""
        },
        report.frames,
    );
    if args.video.json {
        text += &json_line(&report);
    }
    finish(stdout_is_used, &text, interrupted)
}

/// Reports that an interrupt came before there was anything to keep.
fn without_frames() -> ExitCode {
    ar_cli::tell("interrupted before a frame was finished: no video is written");
    INTERRUPTED.into()
}

/// Time by phase.
#[derive(Default)]
struct Seconds {
    load: Duration,
    read: Duration,
    reconstruct: Duration,
    encode: Duration,
}

/// The quality over the frames so far.
struct Quality {
    frames: usize,
    psnr: PsnrSum,
    /// Summed over the frames; none if they are smaller than its window.
    ssim: Option<f64>,
}

impl Quality {
    fn new(size: usize) -> Self {
        Self {
            frames: 0,
            psnr: PsnrSum::default(),
            ssim: (size >= SSIM_WINDOW).then_some(0.0),
        }
    }

    fn add(&mut self, originals: &[Frame], frames: &[Frame]) {
        self.frames += frames.len();
        self.psnr.add(originals, frames);
        if let Some(sum) = &mut self.ssim {
            *sum += ssim(originals, frames) * frames.len() as f64;
        }
    }

    fn ssim(&self) -> Option<f64> {
        self.ssim.map(|sum| sum / self.frames as f64)
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PSNR {:.2} dB", self.psnr.psnr())?;
        match self.ssim() {
            Some(ssim) => write!(f, ", SSIM {ssim:.4}"),
            None => Ok(()),
        }
    }
}

/// The JSON line of `reconstruct`.
#[derive(Debug, Serialize)]
struct ReconstructReport {
    output: String,
    frames: usize,
    /// Whether Ctrl-C ended the run early.
    interrupted: bool,
    /// Peak signal-to-noise ratio in decibels; none for a perfect reconstruction.
    psnr: Option<f64>,
    /// Structural similarity; none for frames smaller than its window.
    ssim: Option<f64>,
    seconds: ReconstructSeconds,
    peak_memory_bytes: Option<u64>,
    device: String,
    model: ModelReport,
}

#[derive(Debug, Serialize)]
struct ReconstructSeconds {
    load: f64,
    /// Reading and cropping the video.
    read: f64,
    /// In the VAE.
    reconstruct: f64,
    /// In the video encoder.
    encode: f64,
    total: f64,
}
