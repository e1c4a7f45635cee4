//! What `generate` is asked to do, checked against the model before it is loaded.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ar_data::Part;
use ar_diffusion::{Sampler, SamplerConfig};
use ar_model::{ModelConfig, SamplingMethod};
use ar_video::Frame;

use crate::cli::GenerateArgs;
use crate::denoising::DenoisingTarget;
use crate::noise::NoiseFile;
use crate::output::{VideoTarget, with_suffix};
use crate::prefix;
use ar_files::check_writable;

/// Videos sampled together where the user does not say.
const DEFAULT_BATCH: usize = 4;

/// A run of `generate` in which nothing is left open.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: SamplerConfig,
    pub sampler: Sampler,
    pub method: SamplingMethod,
    pub guidance: f64,
    pub class: Option<usize>,
    pub seed: u64,
    pub noise: Option<NoiseFile>,
    /// The frames that every video begins with, in the size of the VAE.
    pub prefix: Vec<Frame>,
    /// All videos, and those of them that this run makes.
    pub count: usize,
    pub videos: Range<usize>,
    /// Frames of each with those of the prefix, and videos sampled together.
    pub frames: usize,
    pub batch: usize,
    /// Frames that a frame sees at most, its own included.
    pub window: usize,
    /// Tokens and channels of a frame's latent.
    pub latent: [usize; 2],
    /// None if the model has no VAE.
    pub video: Option<VideoTarget>,
    pub latents: Option<PathBuf>,
    pub denoising: Option<DenoisingTarget>,
}

impl Settings {
    /// Fills in the model's defaults.
    pub fn new(args: &GenerateArgs, model: &ModelConfig) -> anyhow::Result<Self> {
        let Some(transformer) = &model.transformer else {
            bail!("this model has no transformer, so it can only `reconstruct`");
        };
        let latent = [transformer.tokens_per_frame, transformer.in_channels];
        let window = transformer.num_frames;

        let asked = &args.sampling;
        let steps = asked.steps.unwrap_or(model.sampling.steps);
        let config = SamplerConfig {
            steps,
            // The model's step difference is for the model's steps.
            ar_step: asked.ar_step.unwrap_or(model.sampling.ar_step.min(steps)),
            eta: asked.eta.unwrap_or(model.sampling.eta),
        };
        // A new frame sees as many frames before it.
        let most = (window - 1).max(1);
        let prefix = prefix::read(asked, model.vae.as_ref().map(|vae| vae.image_size()), most)?;

        let noise = asked.noise.as_deref().map(NoiseFile::read).transpose()?;
        let mut count = asked.count.map_or(1, usize::from);
        let mut frames = asked
            .frames
            .unwrap_or_else(|| default_frames(config, prefix.len(), window));
        if let Some(noise) = &noise {
            noise.check_latents(latent)?;
            noise.check_number("--frames", asked.frames, noise.frames())?;
            noise.check_number("--count", asked.count.map(usize::from), noise.count())?;
            (count, frames) = (noise.count(), noise.frames());
        }
        check_frames(config, frames, prefix.len(), model)?;
        let sampler = model.sampler(config, frames - prefix.len())?;

        let guidance = asked.guidance.unwrap_or(model.sampling.guidance);
        check_guidance(guidance, model)?;
        let class = asked.class.as_deref();
        let class = class.map(|class| model.conditioning.class(class));
        let video = video_target(args, model)?;
        if count > 1 && video.as_ref().is_some_and(VideoTarget::is_stdout) {
            bail!("--out - is one video, and there are {count} to generate");
        }
        let videos = args.part.range(count);
        if videos.is_empty() {
            bail!(
                "--part {} of {} has none of the {count} videos: ask for fewer parts",
                args.part.index,
                args.part.count
            );
        }
        let denoising = denoising_target(args, model)?;
        if count > 1 && denoising.is_some() {
            bail!("--denoising shows one video, and there are {count} to generate");
        }
        let latents = args.save_latents.as_deref();
        check_distinct([
            ("--out", video.as_ref().map(|video| video.path.as_path())),
            ("--denoising", args.denoising.as_deref()),
            ("--save-latents", latents),
        ])?;
        Ok(Self {
            config,
            sampler,
            method: SamplingMethod::of(transformer),
            guidance,
            class: class.transpose()?,
            seed: asked.seed,
            noise,
            prefix,
            count,
            frames,
            batch: asked
                .batch
                .map_or(DEFAULT_BATCH, usize::from)
                .min(videos.len()),
            videos,
            window,
            latent,
            video,
            latents: latents.map(|path| path_of_part(path, args.part)),
            denoising,
        })
    }

    /// Frames of each video that are sampled.
    pub fn sampled_frames(&self) -> usize {
        self.frames - self.prefix.len()
    }

    /// Whether the standard output is for the video alone.
    pub fn is_stdout_taken(&self) -> bool {
        self.video.as_ref().is_some_and(VideoTarget::is_stdout)
    }

    /// The path of a video.
    pub fn path(&self, video: &VideoTarget, index: usize) -> PathBuf {
        video.numbered(index, self.count)
    }

    /// Fails if an output could not be written. Missing folders above the outputs are made.
    pub fn check_outputs(&self) -> anyhow::Result<()> {
        if let Some(video) = &self.video {
            for index in self.videos.clone() {
                // Dropped at once, which leaves nothing behind.
                video.create(&self.path(video, index))?;
            }
        }
        if let Some(denoising) = &self.denoising {
            denoising.create()?;
        }
        match &self.latents {
            Some(path) => {
                check_writable(path).with_context(|| format!("{}: cannot write", path.display()))
            }
            None => Ok(()),
        }
    }
}

/// The file of a part of the videos: the one given, numbered if there are several parts.
fn path_of_part(path: &Path, Part { index, count }: Part) -> PathBuf {
    match count {
        1 => path.to_owned(),
        _ => with_suffix(path, &format!("-{index}-of-{count}")),
    }
}

/// A window of new frames; with a step difference of 0, in which they all stand side by side, what
/// the prefix leaves of a window.
fn default_frames(config: SamplerConfig, prefix: usize, window: usize) -> usize {
    match config.ar_step {
        0 => window.max(prefix + 1),
        _ => prefix + window,
    }
}

/// Fails if nothing is left to sample, or what is sampled would see nothing of the prefix.
pub fn check_frames(
    config: SamplerConfig,
    frames: usize,
    prefix: usize,
    model: &ModelConfig,
) -> anyhow::Result<()> {
    let Some(transformer) = model.transformer.as_ref().filter(|_| prefix > 0) else {
        return Ok(());
    };
    if frames <= prefix {
        bail!(
            "--frames is {frames} with the {prefix} of the prefix: it has to be larger, or \
             --prefix-frames smaller"
        );
    }
    let (sampled, window) = (frames - prefix, transformer.num_frames);
    // One window for all, which then has no room for the prefix.
    if config.ar_step == 0 && sampled >= window && !transformer.is_unbounded() {
        bail!(
            "--ar-step 0 denoises all {sampled} new frames together, which see {window} frames and \
             nothing of the prefix: ask for fewer --frames or a larger --ar-step"
        );
    }
    Ok(())
}

/// Fails if guidance is no number, or there are no classes to guide to: without them nothing is trained
/// that could be guided away from.
pub fn check_guidance(guidance: f64, model: &ModelConfig) -> anyhow::Result<()> {
    ensure!(
        guidance.is_finite(),
        "guidance is {guidance}, but must be a finite number (1 is none)"
    );
    ensure!(
        guidance == 1.0 || model.conditioning.classes > 0,
        "guidance is {guidance}, and this model has no classes to guide it to: only --guidance 1, \
         which is none, fits"
    );
    Ok(())
}

/// Fails if two outputs are one file.
fn check_distinct<const N: usize>(outputs: [(&str, Option<&Path>); N]) -> anyhow::Result<()> {
    let mut seen: Vec<(&str, PathBuf)> = Vec::new();
    for (option, path) in outputs {
        let Some(path) = path else { continue };
        let absolute = std::path::absolute(path).with_context(|| path.display().to_string())?;
        if let Some((other, _)) = seen.iter().find(|(_, seen)| *seen == absolute) {
            bail!("{other} and {option} are both {}", path.display());
        }
        seen.push((option, absolute));
    }
    Ok(())
}

fn video_target(args: &GenerateArgs, model: &ModelConfig) -> anyhow::Result<Option<VideoTarget>> {
    if model.vae.is_some() {
        let fps = args.video.fps.unwrap_or(model.sampling.fps);
        let path = args.out.as_deref();
        return VideoTarget::new(path, args.video.format, fps, "sample").map(Some);
    }
    if args.save_latents.is_none() {
        bail!("this model has no VAE to make videos with; --save-latents FILE writes the latents");
    }
    for (option, given) in [
        ("--out", args.out.is_some()),
        ("--format", args.video.format.is_some()),
        ("--fps", args.video.fps.is_some()),
        ("--denoising", args.denoising.is_some()),
    ] {
        if given {
            bail!("{option} is given, and this model has no VAE to make videos with");
        }
    }
    Ok(None)
}

fn denoising_target(
    args: &GenerateArgs,
    model: &ModelConfig,
) -> anyhow::Result<Option<DenoisingTarget>> {
    let fps = args.video.fps.unwrap_or(model.sampling.fps);
    let path = args.denoising.as_deref();
    path.map(|path| DenoisingTarget::new(path, fps)).transpose()
}
