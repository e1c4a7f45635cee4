//! Where the clips that are measured come from.

use std::fmt;
use std::ops::Range;

use anyhow::Context;
use ar_data::{VideoFolder, to_frames};
use ar_model::VideoModel;
use ar_video::Frame;
use burn::tensor::{Device, Tensor};
use burn_dataset::Dataset;

use super::data::Data;
use super::settings::Settings;
use crate::model::encode;
use crate::noise::noise_source;
use crate::reconstruct::{CHUNK, round_trip};
use crate::sampled::{check_finite, values};

/// A kind of clips; each has one for every clip of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The data themselves: the floor of what is measured.
    Truth,
    /// The data through the VAE: the floor of what the model can reach.
    Reconstruction,
    /// Videos of a folder.
    Videos,
    /// Samples of the model, which go on from the first frames of the data or from nothing.
    Samples { ar_step: usize, prefix: usize },
}

impl Source {
    /// Whether the clips should be those of the data.
    pub fn has_truth(&self) -> bool {
        match self {
            Self::Truth | Self::Reconstruction => true,
            Self::Videos => false,
            Self::Samples { prefix, .. } => *prefix > 0,
        }
    }

    /// A name for a folder.
    pub fn slug(&self) -> String {
        match self {
            Self::Truth => "ground-truth".into(),
            Self::Reconstruction => "reconstruction".into(),
            Self::Videos => "videos".into(),
            Self::Samples { ar_step, prefix: 0 } => format!("samples-s-{ar_step}"),
            Self::Samples { ar_step, prefix } => format!("after-{prefix}-s-{ar_step}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth => f.write_str("ground truth"),
            Self::Reconstruction => f.write_str("reconstruction"),
            Self::Videos => f.write_str("videos"),
            Self::Samples { ar_step, prefix: 0 } => write!(f, "samples, s = {ar_step}"),
            Self::Samples { ar_step, prefix } => {
                write!(f, "after {prefix} frames, s = {ar_step}")
            }
        }
    }
}

/// Makes or reads the clips of every source.
pub struct Sources<'a> {
    model: &'a VideoModel,
    device: &'a Device,
    settings: &'a Settings,
    data: &'a Data,
    videos: Option<&'a VideoFolder>,
}

impl<'a> Sources<'a> {
    /// The clips of a model and of `videos`, if those are measured.
    pub fn new(
        model: &'a VideoModel,
        device: &'a Device,
        settings: &'a Settings,
        data: &'a Data,
        videos: Option<&'a VideoFolder>,
    ) -> Self {
        Self {
            model,
            device,
            settings,
            data,
            videos,
        }
    }

    /// The clips of these numbers.
    pub fn videos(&self, source: &Source, clips: Range<usize>) -> anyhow::Result<Vec<Vec<Frame>>> {
        match source {
            Source::Truth => clips.map(|clip| self.data.clip(clip)).collect(),
            Source::Reconstruction => clips.map(|clip| self.reconstruction(clip)).collect(),
            Source::Videos => clips.map(|clip| self.video(clip)).collect(),
            Source::Samples { ar_step, prefix } => self.samples(*ar_step, *prefix, clips),
        }
    }

    fn video(&self, clip: usize) -> anyhow::Result<Vec<Frame>> {
        let videos = self.videos.expect("videos that are measured");
        let item = videos.get(clip);
        Ok(item.context("the videos")?.clip.into_frames())
    }

    fn reconstruction(&self, clip: usize) -> anyhow::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        for chunk in self.data.clip(clip)?.chunks(self.chunk()) {
            frames.extend(round_trip(self.model, chunk, self.device)?);
        }
        Ok(frames)
    }

    fn samples(
        &self,
        ar_step: usize,
        prefix: usize,
        clips: Range<usize>,
    ) -> anyhow::Result<Vec<Vec<Frame>>> {
        let (first, batch) = (clips.start, clips.len());
        let config = self.model.config();
        let protocol = &self.settings.protocol;
        let sampler = config.sampler(
            self.settings.sampler_config(ar_step),
            protocol.frames - prefix,
        )?;
        let transformer = self.model.transformer()?;
        let dit = transformer.dit().config();
        let latent = [dit.tokens_per_frame, dit.in_channels];

        let given: Vec<Vec<Frame>> = clips
            .clone()
            .map(|clip| {
                let mut frames = self.data.clip(clip)?;
                frames.truncate(prefix);
                Ok(frames)
            })
            .collect::<anyhow::Result<_>>()?;
        let mut context = match self.classes(clips.clone())? {
            Some(classes) => transformer.context_of_classes(&classes, protocol.guidance)?,
            None => transformer.sampling_context(None, batch, protocol.guidance)?,
        };
        let mut latents = Vec::new();
        if prefix > 0 {
            let encoded = given
                .iter()
                .map(|frames| encode(self.model, frames, self.device))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let encoded = Tensor::cat(encoded, 0);
            context = context.with_prefix(encoded.clone());
            latents.push(encoded);
        }
        let noise = noise_source(None, protocol.seed, (first, batch), latent, self.device);
        for iteration in transformer.sample(&sampler, noise.as_ref(), context) {
            for frame in iteration.finished {
                let (index, values) = values(&frame);
                check_finite(index, &values)?;
                latents.push(frame.latent);
            }
        }

        let mut videos = given;
        let latents = Tensor::cat(latents, 1);
        for start in (0..protocol.frames).step_by(self.chunk()) {
            let length = self.chunk().min(protocol.frames - start);
            let pixels = self
                .model
                .decode(latents.clone().narrow(1, start, length))?;
            let frames = to_frames(pixels.flatten(0, 1));
            // Frames that are given stay as they are.
            let known = prefix.saturating_sub(start).min(length);
            for (video, frames) in videos.iter_mut().zip(frames.chunks_exact(length)) {
                video.extend_from_slice(&frames[known..]);
            }
        }
        Ok(videos)
    }

    /// The classes that samples are of.
    fn classes(&self, clips: Range<usize>) -> anyhow::Result<Option<Vec<usize>>> {
        let classes: Vec<Option<usize>> = clips
            .map(|clip| self.settings.class(clip, self.data))
            .collect::<anyhow::Result<_>>()?;
        Ok(classes.into_iter().collect())
    }

    /// Frames that are decoded together: a temporal decoder gets clips of the length it was trained
    /// on.
    fn chunk(&self) -> usize {
        let config = self.model.config();
        let is_temporal = config.vae.as_ref().is_some_and(|vae| vae.is_temporal());
        let window = config.transformer.as_ref().filter(|_| is_temporal);
        window.map_or(CHUNK, |transformer| transformer.num_frames)
    }
}
