//! `ar-sample reconstruct`

use std::time::{Duration, Instant};

use anyhow::Context;
use ar_metrics::{SSIM_WINDOW, psnr, ssim};
use ar_pipeline::{Destination, Pipeline, timed};
use ar_video::{Frame, VideoReader, square_crop};
use serde::Serialize;

use crate::cli::ReconstructArgs;
use crate::devices::open_device;
use crate::output::{shown, video_target};
use crate::report::{ModelReport, json_line, peak_memory};

/// Passes a video through a VAE and says what was lost.
pub(crate) fn run(args: &ReconstructArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let source = args.model.source();
    let config = source.config()?;
    let vae = config.vae.as_ref().context("this model has no VAE")?;
    let fps = args.video.fps.unwrap_or(config.sampling.fps);
    let target = video_target(
        args.out.as_deref(),
        args.video.format,
        fps,
        "reconstruction",
    )?;
    let reader = VideoReader::open(&args.input)?;
    let (device_name, device) = open_device(&args.model.device)?;
    let mut writer = target.create(&target.destination)?;

    let [mut load, mut read, mut reconstruct, mut encode] = [Duration::ZERO; 4];
    let pipeline = timed(&mut load, || Pipeline::from_source(&source, &device))?;
    let originals: Vec<Frame> = timed(&mut read, || {
        reader
            .map(|frame| Ok(square_crop(&frame?, vae.image_size())))
            .collect::<anyhow::Result<_>>()
    })?;
    let mut frames = Vec::with_capacity(originals.len());
    for chunk in originals.chunks(pipeline.frames_at_once()) {
        frames.extend(timed(&mut reconstruct, || pipeline.reconstruct(chunk))?);
        timed(&mut encode, || {
            let new = &frames[frames.len() - chunk.len()..];
            new.iter().try_for_each(|frame| writer.write(frame))
        })?;
    }
    timed(&mut encode, || writer.finish())?;

    let psnr = psnr(&originals, &frames);
    let ssim = (vae.image_size() >= SSIM_WINDOW).then(|| ssim(&originals, &frames));
    let total = start.elapsed().as_secs_f64();
    let report = ReconstructReport {
        output: shown(&target.destination),
        frames: frames.len(),
        psnr: psnr.is_finite().then_some(psnr),
        ssim,
        seconds: ReconstructSeconds {
            load: load.as_secs_f64(),
            read: read.as_secs_f64(),
            reconstruct: reconstruct.as_secs_f64(),
            encode: encode.as_secs_f64(),
            total,
        },
        peak_memory_bytes: peak_memory(),
        device: device_name,
        model: ModelReport::new(&source, &config),
    };
    let quality = match ssim {
        Some(ssim) => format!("PSNR {psnr:.2} dB, SSIM {ssim:.4}"),
        None => format!("PSNR {psnr:.2} dB"),
    };
    let mut text = format!(
        "{}: {} frames of {size}x{size} at {fps} fps in {total:.1} s, {quality}\n",
        report.output,
        report.frames,
        size = vae.image_size(),
    );
    if args.video.json {
        text += &json_line(&report);
    }
    if target.destination == Destination::Stdout {
        ar_cli::tell(text.trim_end());
    } else {
        ar_cli::print(&text)?;
    }
    Ok(())
}

/// The JSON line of `reconstruct`.
#[derive(Debug, Serialize)]
struct ReconstructReport {
    output: String,
    frames: usize,
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
