use std::ops::Range;
use std::time::Duration;

use ar_diffusion::{Context, Sampling};
use ar_model::VideoModel;
use ar_video::Frame;
use burn::tensor::{Device, Tensor};

use crate::batch_noise::BatchNoise;
use crate::{Classes, GenerateOptions, Pipeline, PipelineError, Prefix, ResolvedOptions, timed};

/// Videos that are ready to be sampled, with checked options, noise, and an encoded prefix.
/// Sampling them again gives the same videos.
pub struct Generation {
    pub(crate) model: VideoModel,
    pub(crate) device: Device,
    pub(crate) options: ResolvedOptions,
    pub(crate) batches: Vec<Batch>,
    /// The latents of the prefix, `[1 or videos, frames, tokens, channels]`.
    prefix: Option<Tensor<4>>,
    /// The time for encoding it.
    pub(crate) prefix_time: Duration,
}

/// Videos that are sampled together.
pub(crate) struct Batch {
    /// Their numbers.
    pub videos: Range<usize>,
    pub noise: BatchNoise,
}

impl Pipeline {
    /// Prepares videos: checks the options and encodes the prefix, without sampling anything yet.
    ///
    /// # Errors
    /// If the options do not fit the model or each other, or the prefix cannot be read.
    pub fn generate(&self, options: &GenerateOptions) -> Result<Generation, PipelineError> {
        Generation::new(self, options.resolve(self.model().config())?)
    }
}

impl Generation {
    /// Encodes the prefix.
    ///
    /// # Errors
    /// If the model has no transformer, or if there is a prefix and the model has no VAE.
    pub fn new(pipeline: &Pipeline, options: ResolvedOptions) -> Result<Self, PipelineError> {
        let device = pipeline.device();
        let mut prefix_time = Duration::ZERO;
        let prefix = timed(&mut prefix_time, || match &options.prefix {
            None | Some(Prefix::File(_)) => Ok(None),
            Some(Prefix::All(frames)) => pipeline.encode(frames).map(Some),
            Some(Prefix::Each(videos)) => {
                let latents = videos.iter().map(|frames| pipeline.encode(frames));
                let latents: Vec<Tensor<4>> = latents.collect::<Result<_, _>>()?;
                Ok::<_, PipelineError>(Some(Tensor::cat(latents, 0)))
            }
        })?;
        let batch = |videos: Range<usize>| Batch {
            noise: BatchNoise::new(&options, videos.clone(), device),
            videos,
        };
        Ok(Self {
            batches: options.batches().map(batch).collect(),
            model: pipeline.model().clone(),
            device: device.clone(),
            options,
            prefix,
            prefix_time,
        })
    }

    /// The options.
    pub fn options(&self) -> &ResolvedOptions {
        &self.options
    }

    /// Starts sampling a batch.
    pub(crate) fn sample<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> Result<Sampling<'a, BatchNoise>, PipelineError> {
        let transformer = self.model.transformer()?;
        let mut context = self.context(batch)?;
        if let Some(prefix) = self.prefix_latents(batch) {
            context = context.with_prefix(prefix);
        }
        Ok(transformer.sample(&self.options.sampler, &batch.noise, context))
    }

    fn context(&self, batch: &Batch) -> Result<Context, PipelineError> {
        let transformer = self.model.transformer()?;
        let guidance = self.options.guidance;
        let count = batch.videos.len();
        Ok(match &self.options.classes {
            Classes::Each(classes) => {
                transformer.context_of_classes(&classes[self.places(batch)], guidance)?
            }
            Classes::All(class) => transformer.sampling_context(Some(*class), count, guidance)?,
            Classes::None | Classes::Named(_) => {
                transformer.sampling_context(None, count, guidance)?
            }
        })
    }

    /// The latents of the prefix, `[batch, frames, tokens, channels]`.
    pub(crate) fn prefix_latents(&self, batch: &Batch) -> Option<Tensor<4>> {
        let latents = self.prefix.clone()?;
        let [given, frames, tokens, channels] = latents.dims();
        let places = self.places(batch);
        Some(match &self.options.prefix {
            Some(Prefix::Each(_)) if given > places.len() => {
                latents.narrow(0, places.start, places.len())
            }
            Some(Prefix::Each(_)) => latents,
            _ => latents.expand([places.len(), frames, tokens, channels]),
        })
    }

    /// The frames of the prefix of a video.
    pub(crate) fn prefix_frames(&self, video: usize) -> &[Frame] {
        let prefix = self.options.prefix.as_ref();
        prefix.map_or(&[], |prefix| {
            prefix.of_video(video - self.options.videos.start)
        })
    }

    /// Positions of a batch among the videos that are made.
    pub(crate) fn places(&self, batch: &Batch) -> Range<usize> {
        let first = self.options.videos.start;
        batch.videos.start - first..batch.videos.end - first
    }
}
