use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::chunks::ChunkDecoder;
use crate::denoising::Denoising;
use crate::generation::{Batch, Generation};
use crate::sampled::{check_latents, save_latents, to_values, values};
use crate::sink::{VideoSink, Videos, Written};
use crate::{Destination, Outputs, PipelineError, VideoTarget, timed};

/// The progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteProgress {
    /// Sampler iterations that are done.
    pub iteration: usize,
    /// All iterations.
    pub iterations: usize,
    /// Frames that have been sampled, over all videos.
    pub frames_sampled: usize,
    /// All frames to sample.
    pub frames: usize,
}

/// What a run did, and how long it took.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// Time for encoding the prefix.
    pub prefix: Duration,
    /// Time for sampling.
    pub sample: Duration,
    /// Time in the VAE's decoder, in parallel with sampling.
    pub decode: Duration,
    /// Time in the video encoder, in parallel with sampling.
    pub encode: Duration,
    /// From the start of sampling until the first frame was sampled.
    pub first_latent: Option<Duration>,
    /// From the start of sampling until the first frame was decoded and encoded.
    pub first_decoded: Option<Duration>,
    /// From the start of sampling until the last video was complete.
    pub total: Duration,
    /// Calls of the network: one per iteration and batch, with or without guidance.
    pub network_evaluations: usize,
    /// Frames that went through the network: over iterations, videos, and both halves of guidance.
    pub frame_evaluations: usize,
    /// Sampled frames of each video that was started.
    pub sampled: Vec<usize>,
    /// Where the videos are. There is one for each video of which at least one frame was sampled.
    pub outputs: Vec<Destination>,
    /// The file of latents, if it is written.
    pub latents: Option<PathBuf>,
    /// Whether the video of the denoising is written.
    pub denoising: bool,
    /// Whether frames are missing.
    pub interrupted: bool,
}

impl Outcome {
    /// Frames sampled, over all videos.
    pub fn frames_sampled(&self) -> usize {
        self.sampled.iter().sum()
    }
}

impl Generation {
    /// Writes the videos in the format of the path's extension, at the model's frame rate; if there are several, each
    /// gets a number. Frames are decoded and encoded on a separate thread while later ones are sampled.
    ///
    /// # Errors
    /// If no format has the extension, the path cannot be written, or a latent is not a number.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<Outcome, PipelineError> {
        let outputs = Outputs {
            video: Some(VideoTarget::by_extension(path, self.options.fps)?),
            ..Outputs::default()
        };
        outputs.check(&self.options)?;
        self.write_all(&outputs, |_| ControlFlow::Continue(()))
    }

    /// Samples all videos and writes every frame as soon as it is finished, decoded and encoded on a separate thread
    /// while later ones are sampled.
    ///
    /// `progress` is called before every iteration and after the last, and may end the run; frames that are finished by
    /// then are kept, as playable videos. Latents are only saved by complete runs.
    ///
    /// # Errors
    /// If an output cannot be written (see [`Outputs::check`] for what can be checked before), or a latent is not
    /// finite. There are no files then.
    pub fn write_all(
        &self,
        outputs: &Outputs,
        progress: impl FnMut(WriteProgress) -> ControlFlow<()>,
    ) -> Result<Outcome, PipelineError> {
        Writing {
            generation: self,
            outputs,
            progress,
            start: Instant::now(),
            outcome: Outcome {
                prefix: self.prefix_time,
                ..Outcome::default()
            },
            latents: Vec::new(),
        }
        .run()
    }
}

/// A run in progress.
struct Writing<'a, P> {
    generation: &'a Generation,
    outputs: &'a Outputs,
    progress: P,
    start: Instant,
    outcome: Outcome,
    /// Latents of each video, if they are to be saved.
    latents: Vec<Vec<f32>>,
}

impl<P: FnMut(WriteProgress) -> ControlFlow<()>> Writing<'_, P> {
    fn run(mut self) -> Result<Outcome, PipelineError> {
        let options = &self.generation.options;
        for batch in &self.generation.batches {
            if self.is_stopped() || self.sample(batch)?.is_break() {
                break;
            }
        }
        self.outcome.total = self.start.elapsed();
        let frames = options.videos.len() * options.sampled_frames();
        self.outcome.interrupted = self.outcome.frames_sampled() < frames;
        if let Some(path) = self
            .outputs
            .latents
            .as_ref()
            .filter(|_| !self.outcome.interrupted)
        {
            let [tokens, channels] = options.latent;
            save_latents(path, &self.latents, [options.frames, tokens, channels])?;
            self.outcome.latents = Some(path.clone());
        }
        if let Some(target) = &self.outputs.video {
            let begun = options.videos.clone().zip(&self.outcome.sampled);
            self.outcome.outputs = begun
                .filter(|(_, sampled)| **sampled > 0)
                .map(|(index, _)| target.numbered(index, options.count))
                .collect();
        }
        Ok(self.outcome)
    }

    /// Reports progress, and returns whether the run is to end.
    fn is_stopped(&mut self) -> bool {
        let options = &self.generation.options;
        let progress = WriteProgress {
            iteration: self.outcome.network_evaluations,
            iterations: options.iterations(),
            frames_sampled: self.outcome.frames_sampled(),
            frames: options.videos.len() * options.sampled_frames(),
        };
        (self.progress)(progress).is_break()
    }

    /// Samples one batch.
    fn sample(&mut self, batch: &Batch) -> Result<ControlFlow<()>, PipelineError> {
        let generation = self.generation;
        let options = &generation.options;
        self.begin_videos(batch);
        let mut denoising = match &self.outputs.denoising {
            Some(target) => Some(Denoising::start(
                target,
                &generation.model,
                generation.prefix_latents(batch).as_ref(),
                &batch.noise,
                options.frames,
            )?),
            None => None,
        };
        let mut sink = self.sink(batch)?;
        let mut ending = ControlFlow::Continue(());
        let mut run = generation.sample(batch)?;
        // Reading the finished latents waits for the device, so the times are correct.
        while let Some((evaluations, finished)) = timed(&mut self.outcome.sample, || {
            let iteration = run.next()?;
            let finished: Vec<(usize, Vec<f32>)> = iteration.finished.iter().map(values).collect();
            Some((iteration.frame_evaluations, finished))
        }) {
            self.outcome.network_evaluations += 1;
            self.outcome.frame_evaluations += evaluations;
            for (index, latent) in finished {
                self.keep(batch, index, &latent)?;
                if let Some(sink) = &mut sink {
                    sink.write(latent)?;
                }
            }
            if let Some(denoising) = &mut denoising {
                denoising.add(&run)?;
            }
            if self.is_stopped() {
                ending = ControlFlow::Break(());
                break;
            }
        }
        if let Some(denoising) = denoising {
            denoising.finish()?;
            self.outcome.denoising = true;
        }
        if let Some(sink) = sink {
            self.add(sink.finish()?);
        }
        Ok(ending)
    }

    fn begin_videos(&mut self, batch: &Batch) {
        let begun = self.outcome.sampled.len() + batch.videos.len();
        self.outcome.sampled.resize(begun, 0);
        if self.outputs.latents.is_none() {
            return;
        }
        match self.generation.prefix_latents(batch).map(to_values) {
            None => self.latents.resize(begun, Vec::new()),
            Some(prefix) => {
                let each = prefix.chunks_exact(prefix.len() / batch.videos.len());
                self.latents.extend(each.map(<[f32]>::to_vec));
            }
        }
    }

    /// The thread that writes the files, if the model makes pixels.
    fn sink(&self, batch: &Batch) -> Result<Option<VideoSink>, PipelineError> {
        let generation = self.generation;
        let options = &generation.options;
        let Some(target) = &self.outputs.video else {
            return Ok(None);
        };
        let writer = |index: usize| {
            let writer = target.create(&target.numbered(index, options.count))?;
            Ok((writer, generation.prefix_frames(index).to_vec()))
        };
        let prefix = generation.prefix_latents(batch);
        Ok(Some(VideoSink::start(Videos {
            decoder: ChunkDecoder::new(&generation.model, 1, prefix.as_ref()),
            device: generation.device.clone(),
            writers: batch
                .videos
                .clone()
                .map(writer)
                .collect::<Result<_, PipelineError>>()?,
            latent: options.latent,
            first: batch.videos.start,
            frames: self.outputs.frames.clone(),
        })?))
    }

    /// Records a finished frame of a batch.
    fn keep(&mut self, batch: &Batch, index: usize, latent: &[f32]) -> Result<(), PipelineError> {
        check_latents(index, latent)?;
        self.outcome
            .first_latent
            .get_or_insert_with(|| self.start.elapsed());
        let places = self.generation.places(batch);
        for sampled in &mut self.outcome.sampled[places.clone()] {
            *sampled += 1;
        }
        if self.outputs.latents.is_some() {
            let each = latent.chunks_exact(latent.len() / places.len());
            for (video, latent) in self.latents[places].iter_mut().zip(each) {
                video.extend_from_slice(latent);
            }
        }
        Ok(())
    }

    fn add(&mut self, written: Written) {
        self.outcome.decode += written.decode;
        self.outcome.encode += written.encode;
        if let Some(at) = written.first_frame {
            self.outcome
                .first_decoded
                .get_or_insert(at.duration_since(self.start));
        }
    }
}
