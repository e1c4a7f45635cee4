//! `ar-sample reconstruct`

use std::time::{Duration, Instant};

use anyhow::Context;
use ar_data::to_frames;
use ar_metrics::{SSIM_WINDOW, psnr, ssim};
use ar_model::VideoModel;
use ar_video::{Frame, VideoReader, square_crop};
use burn::tensor::Device;

use crate::cli::ReconstructArgs;
use crate::model::{ModelSource, encode, open_device};
use crate::output::VideoTarget;
use crate::report::{
    ModelReport, ReconstructReport, ReconstructSeconds, json_line, peak_memory, timed,
};

/// Frames that an image VAE is given at once.
pub const CHUNK: usize = 16;

/// Passes a video through a VAE and says what was lost.
pub fn run(args: &ReconstructArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let source = ModelSource::new(args.model.model.as_deref());
    let config = source.config()?;
    let vae = config.vae.context("this model has no VAE")?;
    let fps = args.video.fps.unwrap_or(config.sampling.fps);
    let target = VideoTarget::new(
        args.out.as_deref(),
        args.video.format,
        fps,
        "reconstruction",
    )?;
    let reader = VideoReader::open(&args.input)?;
    let (device_name, device) = open_device(&args.model.device)?;
    let mut writer = target.create(&target.path)?;

    let [mut load, mut read, mut reconstruct, mut encode] = [Duration::ZERO; 4];
    let model = timed(&mut load, || source.load(&device))?;
    let originals: Vec<Frame> = timed(&mut read, || {
        reader
            .map(|frame| Ok(square_crop(&frame?, vae.image_size())))
            .collect::<anyhow::Result<_>>()
    })?;
    // A temporal decoder gets clips of the length it was trained on.
    let window = config.transformer.filter(|_| vae.is_temporal());
    let chunk = window.map_or(CHUNK, |transformer| transformer.num_frames);
    let mut frames = Vec::with_capacity(originals.len());
    for chunk in originals.chunks(chunk) {
        frames.extend(timed(&mut reconstruct, || {
            round_trip(&model, chunk, &device)
        })?);
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
        output: target.path.display().to_string(),
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
        model: ModelReport {
            source: source.describe(),
            name: model.config().name.clone(),
        },
    };
    let quality = match ssim {
        Some(ssim) => format!("PSNR {psnr:.2} dB, SSIM {ssim:.4}"),
        None => format!("PSNR {psnr:.2} dB"),
    };
    let tell = match target.is_stdout() {
        true => crate::print_aside,
        false => crate::print,
    };
    tell(&format!(
        "{}: {} frames of {size}x{size} at {fps} fps in {total:.1} s, {quality}\n",
        report.output,
        report.frames,
        size = vae.image_size(),
    ))?;
    if args.video.json {
        tell(&json_line(&report))?;
    }
    Ok(())
}

fn round_trip(model: &VideoModel, frames: &[Frame], device: &Device) -> anyhow::Result<Vec<Frame>> {
    let pixels = model.decode(encode(model, frames, device)?)?;
    Ok(to_frames(pixels.flatten(0, 1)))
}
