//! Sampling, iteration by iteration.

use std::collections::VecDeque;

use ar_data::to_frames;
use ar_diffusion::{FrameInProgress, Sampling};
use ar_video::Frame;
use burn::tensor::Tensor;

use crate::PipelineError;
use crate::batch_noise::BatchNoise;
use crate::chunks::{CHUNK, ChunkDecoder};
use crate::generation::{Batch, Generation};
use crate::sampled::{check_latents, values};

impl Generation {
    /// The frames as they are finished, in order, the frames of the prefix first. For videos that are sampled together,
    /// all first frames come before the second ones. With a temporal decoder, a whole window of frames comes at once.
    pub fn frames(&self) -> Frames<'_> {
        Frames::new(self.steps())
    }

    /// The iterations of the sampler, with the frames that each of them finished. Between two iterations, there are
    /// [previews](Steps::previews) of the frames in progress.
    pub fn steps(&self) -> Steps<'_> {
        Steps::new(self, 1)
    }

    /// All videos, in memory.
    ///
    /// # Errors
    /// If the model has no VAE, or a latent is not a number.
    pub fn videos(&self) -> Result<Vec<Vec<Frame>>, PipelineError> {
        let mut videos = vec![Vec::new(); self.options.videos.len()];
        for frame in Frames::new(Steps::new(self, CHUNK)) {
            let GeneratedFrame { video, frame, .. } = frame?;
            videos[video - self.options.videos.start].push(frame);
        }
        Ok(videos)
    }
}

/// A frame of a generated video.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GeneratedFrame {
    /// The number of its video.
    pub video: usize,
    /// Its position in the video.
    pub index: usize,
    /// The picture.
    pub frame: Frame,
}

/// A frame that is being denoised.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Preview {
    /// The number of its video.
    pub video: usize,
    /// Its position in the video.
    pub index: usize,
    /// Steps that it has taken.
    pub steps: usize,
    /// Standard deviation of the noise in its latent, from 1 down to 0.
    pub noise_level: f64,
    /// The noisy latent, decoded.
    pub frame: Frame,
}

/// What happened since the previous step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Sampler iterations that are done, over all videos.
    pub iterations: usize,
    /// The frames that are finished since the last step, in the order of [`Generation::frames`].
    pub finished: Vec<GeneratedFrame>,
}

/// Sampling, iteration by iteration: see [`Generation::steps`]. An error ends it.
pub struct Steps<'a> {
    generation: &'a Generation,
    batches: std::slice::Iter<'a, Batch>,
    /// Frames that are decoded together.
    at_once: usize,
    current: Option<BatchSteps<'a>>,
    iterations: usize,
}

/// A batch in progress.
struct BatchSteps<'a> {
    batch: &'a Batch,
    sampling: Sampling<'a, BatchNoise>,
    decoder: ChunkDecoder,
    /// The position of the next frame.
    next: usize,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(generation: &'a Generation, at_once: usize) -> Self {
        Self {
            generation,
            batches: generation.batches.iter(),
            at_once,
            current: None,
            iterations: 0,
        }
    }

    /// The current state of the frames in progress, in order.
    ///
    /// # Errors
    /// If the model has no VAE.
    pub fn previews(&self) -> Result<Vec<Preview>, PipelineError> {
        let Some(BatchSteps {
            batch, sampling, ..
        }) = &self.current
        else {
            return Ok(Vec::new());
        };
        let frames = sampling.in_progress();
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        let latents = frames.iter().map(|frame| frame.latent.clone()).collect();
        // [batch, frames, 3, height, width]
        let pixels = self.generation.model.decode(Tensor::cat(latents, 1))?;
        let mut pictures = to_frames(pixels.flatten(0, 1)).into_iter();
        let mut previews = Vec::with_capacity(pictures.len());
        for video in batch.videos.clone() {
            for frame in &frames {
                let &FrameInProgress {
                    index,
                    steps,
                    noise_level,
                    ..
                } = frame;
                previews.push(Preview {
                    video,
                    index,
                    steps,
                    noise_level,
                    frame: pictures.next().expect("one of each frame of each video"),
                });
            }
        }
        previews.sort_by_key(|preview| preview.index);
        Ok(previews)
    }

    /// The frames that are finished next; none if there are no more.
    fn advance(&mut self) -> Result<Option<Vec<GeneratedFrame>>, PipelineError> {
        let Some(mut current) = self.current.take() else {
            let Some(batch) = self.batches.next() else {
                return Ok(None);
            };
            let (begun, prefix) = self.begin(batch)?;
            self.current = Some(begun);
            return Ok(Some(prefix));
        };
        let Some(iteration) = current.sampling.next() else {
            let videos = current.decoder.flush()?;
            return Ok(Some(current.numbered(videos)));
        };
        self.iterations += 1;
        let mut finished = Vec::new();
        for frame in iteration.finished {
            let (index, values) = values(&frame);
            check_latents(index, &values)?;
            let videos = current.decoder.push(frame.latent)?;
            finished.extend(current.numbered(videos));
        }
        self.current = Some(current);
        Ok(Some(finished))
    }

    /// A batch before its first iteration, and the frames of its prefix.
    fn begin(
        &self,
        batch: &'a Batch,
    ) -> Result<(BatchSteps<'a>, Vec<GeneratedFrame>), PipelineError> {
        let generation = self.generation;
        generation.model.vae()?;
        let prefix = generation.prefix_latents(batch);
        let mut begun = BatchSteps {
            batch,
            sampling: generation.sample(batch)?,
            decoder: ChunkDecoder::new(&generation.model, self.at_once, prefix.as_ref()),
            next: 0,
        };
        let given = batch.videos.clone();
        let given = given.map(|video| generation.prefix_frames(video).to_vec());
        let prefix = begun.numbered(given.collect());
        Ok((begun, prefix))
    }
}

impl BatchSteps<'_> {
    /// The next frames of each video with their positions.
    fn numbered(&mut self, videos: Vec<Vec<Frame>>) -> Vec<GeneratedFrame> {
        let length = videos.first().map_or(0, Vec::len);
        let mut videos: Vec<_> = videos.into_iter().map(Vec::into_iter).collect();
        let mut numbered = Vec::with_capacity(length * videos.len());
        for index in self.next..self.next + length {
            for (video, frames) in self.batch.videos.clone().zip(&mut videos) {
                numbered.push(GeneratedFrame {
                    video,
                    index,
                    frame: frames.next().expect("as many of each video"),
                });
            }
        }
        self.next += length;
        numbered
    }
}

impl Iterator for Steps<'_> {
    type Item = Result<Step, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(finished) => finished.map(|finished| {
                Ok(Step {
                    iterations: self.iterations,
                    finished,
                })
            }),
            Err(error) => {
                self.batches = [].iter();
                self.current = None;
                Some(Err(error))
            }
        }
    }
}

/// The frames of videos as they are finished: see [`Generation::frames`]. An error ends them.
pub struct Frames<'a> {
    steps: Steps<'a>,
    ready: VecDeque<GeneratedFrame>,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(steps: Steps<'a>) -> Self {
        Self {
            steps,
            ready: VecDeque::new(),
        }
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<GeneratedFrame, PipelineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            match self.steps.next()? {
                Ok(step) => self.ready.extend(step.finished),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use crate::{GenerateOptions, Pipeline};

    #[test]
    fn previews_are_of_the_frames_between_noise_and_video() {
        let pipeline = Pipeline::built_in(&Device::flex()).expect("the built-in model");
        let options = GenerateOptions {
            frames: Some(4),
            steps: Some(6),
            ar_step: Some(2),
            ..GenerateOptions::default()
        };
        let generation = pipeline.generate(&options).expect("fits");
        let mut steps = generation.steps();
        let mut finished = Vec::new();
        let mut last = 0;
        while let Some(step) = steps.next() {
            let step = step.expect("samples");
            finished.extend(step.finished);
            last = step.iterations;
            let previews = steps.previews().expect("decodes");
            for preview in &previews {
                // Frame i takes step k in iteration 2 i + k.
                assert_eq!(preview.steps + 2 * preview.index, step.iterations);
                assert!((1..6).contains(&preview.steps));
                assert_eq!(preview.frame.size(), (64, 64));
            }
            assert!(previews.is_sorted_by(|a, b| a.noise_level < b.noise_level));
        }
        assert_eq!(last, 12);
        let frames: Vec<_> = generation
            .frames()
            .map(|frame| frame.expect("the same"))
            .collect();
        assert_eq!(finished, frames);
    }
}
