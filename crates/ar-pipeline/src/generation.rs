use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use ar_diffusion::{Context, Sampling};
use ar_model::VideoModel;
use ar_video::Frame;
use burn::tensor::{Device, Tensor};

use crate::batch_noise::BatchNoise;
use crate::chunks::{CHUNK, ChunkDecoder};
use crate::sampled::{check_finite, values};
use crate::{Classes, GenerateOptions, Pipeline, PipelineError, Prefix, ResolvedOptions, timed};

/// Videos that are ready to be sampled: options that fit, noise, and a prefix that is encoded.
/// Sampling them again gives the same videos.
pub struct Generation {
    pub(crate) model: VideoModel,
    pub(crate) device: Device,
    pub(crate) options: ResolvedOptions,
    pub(crate) batches: Vec<Batch>,
    /// The latents of the prefix, `[1 or videos, frames, tokens, channels]`.
    prefix: Option<Tensor<4>>,
    /// What encoding it took.
    pub(crate) prefix_time: Duration,
}

/// Videos that are sampled together.
pub(crate) struct Batch {
    /// Their numbers.
    pub videos: Range<usize>,
    pub noise: BatchNoise,
}

impl Pipeline {
    /// Prepares videos: checks the options and encodes the prefix. Nothing is sampled yet.
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
    /// If the model has no transformer or, where there is a prefix, no VAE.
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

    /// What is sampled.
    pub fn options(&self) -> &ResolvedOptions {
        &self.options
    }

    /// The frames as they are finished, in order, the frames of the prefix first. Of videos that are
    /// sampled together the first frames come before the second ones. With a temporal decoder a
    /// window of frames comes at once.
    pub fn frames(&self) -> Frames<'_> {
        Frames {
            generation: self,
            batches: self.batches.iter(),
            at_once: 1,
            current: None,
            ready: VecDeque::new(),
        }
    }

    /// All videos, in memory.
    ///
    /// # Errors
    /// If the model has no VAE, or a latent is no number.
    pub fn videos(&self) -> Result<Vec<Vec<Frame>>, PipelineError> {
        let mut videos = vec![Vec::new(); self.options.videos.len()];
        let frames = Frames {
            at_once: CHUNK,
            ..self.frames()
        };
        for frame in frames {
            let GeneratedFrame { video, frame, .. } = frame?;
            videos[video - self.options.videos.start].push(frame);
        }
        Ok(videos)
    }

    /// Begins to sample a batch.
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

    /// Places of a batch among the videos that are made.
    pub(crate) fn places(&self, batch: &Batch) -> Range<usize> {
        let first = self.options.videos.start;
        batch.videos.start - first..batch.videos.end - first
    }
}

/// A frame of a generated video.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GeneratedFrame {
    /// The number of its video.
    pub video: usize,
    /// Its place in the video.
    pub index: usize,
    /// The picture.
    pub frame: Frame,
}

/// The frames of videos as they are finished: see [`Generation::frames`]. An error ends them.
pub struct Frames<'a> {
    generation: &'a Generation,
    batches: std::slice::Iter<'a, Batch>,
    /// Frames that are decoded together.
    at_once: usize,
    current: Option<BatchFrames<'a>>,
    ready: VecDeque<GeneratedFrame>,
}

/// A batch at work.
struct BatchFrames<'a> {
    batch: &'a Batch,
    sampling: Sampling<'a, BatchNoise>,
    decoder: ChunkDecoder,
    /// The place of the next frame.
    next: usize,
}

impl<'a> Frames<'a> {
    /// Makes frames ready; false if there are no more.
    fn advance(&mut self) -> Result<bool, PipelineError> {
        let Some(mut current) = self.current.take() else {
            let Some(batch) = self.batches.next() else {
                return Ok(false);
            };
            self.current = Some(self.begin(batch)?);
            return Ok(true);
        };
        match current.sampling.next() {
            Some(iteration) => {
                for frame in iteration.finished {
                    let (index, values) = values(&frame);
                    check_finite(index, &values)?;
                    let videos = current.decoder.push(frame.latent)?;
                    self.add(&mut current, videos);
                }
                self.current = Some(current);
            }
            None => {
                let videos = current.decoder.flush()?;
                self.add(&mut current, videos);
            }
        }
        Ok(true)
    }

    fn begin(&mut self, batch: &'a Batch) -> Result<BatchFrames<'a>, PipelineError> {
        let generation = self.generation;
        generation.model.vae()?;
        let prefix = generation.prefix_latents(batch);
        let mut begun = BatchFrames {
            batch,
            sampling: generation.sample(batch)?,
            decoder: ChunkDecoder::new(&generation.model, self.at_once, prefix.as_ref()),
            next: 0,
        };
        let given = batch.videos.clone();
        let given = given.map(|video| generation.prefix_frames(video).to_vec());
        self.add(&mut begun, given.collect());
        Ok(begun)
    }

    /// Makes the next frames of each video of a batch ready.
    fn add(&mut self, current: &mut BatchFrames<'_>, videos: Vec<Vec<Frame>>) {
        let length = videos.first().map_or(0, Vec::len);
        let mut videos: Vec<_> = videos.into_iter().map(Vec::into_iter).collect();
        for index in current.next..current.next + length {
            for (video, frames) in current.batch.videos.clone().zip(&mut videos) {
                let frame = frames.next().expect("as many of each video");
                self.ready.push_back(GeneratedFrame {
                    video,
                    index,
                    frame,
                });
            }
        }
        current.next += length;
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<GeneratedFrame, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.batches = [].iter();
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
