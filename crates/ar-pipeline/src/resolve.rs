//! Checks options against the model, before it is loaded.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ar_diffusion::{Sampler, SamplerConfig};
use ar_model::{ClassRows, ModelConfig, SamplingMethod};

use crate::{Classes, GenerateOptions, PipelineError, Prefix, StartNoise};

/// Videos sampled together by default.
const DEFAULT_BATCH: usize = 4;
/// Most videos in one run.
const MOST_VIDEOS: usize = 1_000_000;

/// [`GenerateOptions`] with all defaults filled in, and checked against a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResolvedOptions {
    /// Steps, step difference and fresh noise.
    pub config: SamplerConfig,
    /// The sampler of the frames after the prefix.
    pub sampler: Sampler,
    /// How the network is evaluated.
    pub method: SamplingMethod,
    /// Scale of classifier-free guidance; 1 is none.
    pub guidance: f64,
    /// Classes of the videos, as numbers.
    pub classes: Classes,
    /// Seed of the noise.
    pub seed: u64,
    /// Starting noise, if it is not the seed's.
    pub noise: Option<Arc<StartNoise>>,
    /// The frames that videos start with, in memory.
    pub prefix: Option<Prefix>,
    /// Number of all videos.
    pub count: usize,
    /// The videos to make.
    pub videos: Range<usize>,
    /// Frames per video, including the prefix.
    pub frames: usize,
    /// Videos sampled together.
    pub batch: usize,
    /// The most frames that a frame sees, itself included.
    pub window: usize,
    /// Tokens and channels of a frame's latent.
    pub latent: [usize; 2],
    /// Frames per second of the model's videos.
    pub fps: f64,
    /// The side of the model's frames in pixels; none if it has no VAE.
    pub image_size: Option<usize>,
    /// The files that the videos are made from, by option.
    pub inputs: Vec<(&'static str, PathBuf)>,
}

impl GenerateOptions {
    /// Fills in the model's defaults.
    ///
    /// # Errors
    /// If the options do not fit the model or each other, or the prefix cannot be read.
    pub fn resolve(&self, model: &ModelConfig) -> Result<ResolvedOptions, PipelineError> {
        let transformer = model
            .transformer
            .as_ref()
            .ok_or(PipelineError::NoTransformer)?;
        let latent = [transformer.tokens_per_frame, transformer.in_channels];
        let window = transformer.num_frames;
        let size = model.vae.as_ref().map(|vae| vae.image_size());

        let steps = self.steps.unwrap_or(model.sampling.steps);
        let config = SamplerConfig {
            steps,
            // The model's step difference is for the model's steps.
            ar_step: self.ar_step.unwrap_or(model.sampling.ar_step.min(steps)),
            eta: self.eta.unwrap_or(model.sampling.eta),
        };
        // A new frame sees this many frames before it.
        let most = (window - 1).max(1);
        let mut inputs = Vec::new();
        if let Some(Prefix::File(path)) = &self.prefix {
            inputs.push(("prefix", path.clone()));
        }
        if let Some(noise) = &self.noise {
            inputs.push(("noise", noise.path().to_owned()));
        }
        let prefix = self.prefix.as_ref();
        let prefix = prefix.map(|prefix| prefix.read(self.prefix_frames, size, most));
        let prefix = prefix.transpose()?;
        let given = prefix.as_ref().map_or(0, Prefix::frames);

        let mut count = self.count.unwrap_or(1);
        let mut frames = self
            .frames
            .unwrap_or_else(|| default_frames(config, given, window));
        if let Some(noise) = &self.noise {
            noise.check_latents(latent)?;
            noise.check_number("frames", self.frames, noise.frames())?;
            noise.check_number("count", self.count, noise.count())?;
            (count, frames) = (noise.count(), noise.frames());
        }
        check_frames(config, frames, given, model)?;
        let sampler = model.sampler(config, frames - given)?;

        let guidance = self.guidance.unwrap_or(model.sampling.guidance);
        check_guidance(guidance)?;
        let classes = self.classes.numbered(model)?;

        let videos = self.videos.clone().unwrap_or(0..count);
        if videos.len() > MOST_VIDEOS {
            return Err(PipelineError::Option {
                option: "count",
                found: videos.len().to_string(),
                expected: format!("at most {MOST_VIDEOS} in one run"),
            });
        }
        if videos.is_empty() || videos.end > count {
            return Err(PipelineError::Option {
                option: "videos",
                found: format!("{videos:?}"),
                expected: format!("some of the {count} videos"),
            });
        }
        if let (Some(prefix), Some(size)) = (&prefix, size) {
            prefix.check(videos.len(), size)?;
        }
        if let Classes::Each(classes) = &classes
            && classes.len() != videos.len()
        {
            return Err(PipelineError::Option {
                option: "classes",
                found: format!("{} classes", classes.len()),
                expected: format!("one for each of {} videos", videos.len()),
            });
        }
        let batch = self.batch.unwrap_or(DEFAULT_BATCH).min(videos.len());
        if batch == 0 {
            return Err(PipelineError::Option {
                option: "batch",
                found: "0".into(),
                expected: "at least 1".into(),
            });
        }
        Ok(ResolvedOptions {
            config,
            sampler,
            method: SamplingMethod::of(transformer),
            guidance,
            classes,
            seed: self.seed,
            noise: self.noise.clone().map(Arc::new),
            prefix,
            count,
            videos,
            frames,
            batch,
            window,
            latent,
            fps: model.sampling.fps,
            image_size: size,
            inputs,
        })
    }
}

impl ResolvedOptions {
    /// Frames of the prefix.
    pub fn prefix_frames(&self) -> usize {
        self.prefix.as_ref().map_or(0, Prefix::frames)
    }

    /// Sampled frames per video.
    pub fn sampled_frames(&self) -> usize {
        self.frames - self.prefix_frames()
    }

    /// Sampler iterations for all videos.
    pub fn iterations(&self) -> usize {
        self.sampler.plan().iterations() * self.videos.len().div_ceil(self.batch)
    }

    /// The videos that are sampled together, batch by batch.
    pub(crate) fn batches(&self) -> impl Iterator<Item = Range<usize>> {
        let Self { videos, batch, .. } = self;
        let (end, batch) = (videos.end, *batch);
        videos
            .clone()
            .step_by(batch)
            .map(move |first| first..end.min(first + batch))
    }
}

/// A window of new frames; with a step difference of 0, where all frames share one window, the rest of the window after
/// the prefix.
fn default_frames(config: SamplerConfig, prefix: usize, window: usize) -> usize {
    match config.ar_step {
        0 => window.max(prefix + 1),
        _ => prefix + window,
    }
}

/// Fails if `prefix` leaves none of the `frames` frames to sample, or if the new frames would see nothing of the
/// prefix.
///
/// # Errors
/// In those cases.
pub fn check_frames(
    config: SamplerConfig,
    frames: usize,
    prefix: usize,
    model: &ModelConfig,
) -> Result<(), PipelineError> {
    let Some(transformer) = model.transformer.as_ref().filter(|_| prefix > 0) else {
        return Ok(());
    };
    if frames <= prefix {
        return Err(PipelineError::OnlyPrefix { frames, prefix });
    }
    let (sampled, window) = (frames - prefix, transformer.num_frames);
    // One window for all frames, which then has no room for the prefix.
    if config.ar_step == 0 && sampled >= window && !transformer.is_unbounded() {
        return Err(PipelineError::UnseenPrefix { sampled, window });
    }
    Ok(())
}

/// A note for the user if `guidance` moves away from a null context that `model` was never trained with: zeros, if
/// there are no classes, and the row of the first class in published models with classes.
pub fn guidance_note(guidance: f64, model: &ModelConfig) -> Option<String> {
    let conditioning = &model.conditioning;
    if guidance == 1.0 {
        None
    } else if conditioning.classes == 0 {
        Some(format!(
            "note: guidance {guidance} moves away from a context of zeros, which models without \
             classes never train on; published models are sampled this way, but others may get worse"
        ))
    } else {
        (conditioning.class_rows == ClassRows::Published).then(|| {
            format!(
                "note: guidance {guidance} moves away from the null class, which in published models is \
                 class 0: it does nothing for class 0, and moves the other classes away from it"
            )
        })
    }
}

/// Fails if guidance is not a number.
///
/// # Errors
/// In that case.
pub fn check_guidance(guidance: f64) -> Result<(), PipelineError> {
    if guidance.is_finite() {
        Ok(())
    } else {
        Err(PipelineError::Guidance(guidance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ar_model::ConditioningConfig;

    #[test]
    fn guidance_away_from_what_was_never_trained_is_told() {
        let note = |guidance: f64, classes: usize, class_rows: ClassRows| {
            let conditioning = ConditioningConfig {
                classes,
                class_rows,
                ..ConditioningConfig::default()
            };
            let model = ModelConfig {
                conditioning,
                ..ModelConfig::default()
            };
            guidance_note(guidance, &model).unwrap_or_default()
        };
        assert!(note(2.0, 0, ClassRows::AfterNull).contains("a context of zeros"));
        assert!(note(2.0, 101, ClassRows::Published).contains("it does nothing for class 0"));
        assert_eq!(note(2.0, 101, ClassRows::AfterNull), "");
        for classes in [0, 101] {
            assert_eq!(note(1.0, classes, ClassRows::Published), "");
        }
    }
}
