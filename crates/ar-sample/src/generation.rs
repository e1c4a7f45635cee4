//! Sampling, batch by batch.

use std::ops::Range;
use std::time::{Duration, Instant};

use ar_model::VideoModel;
use burn::tensor::{Device, Tensor};
use burn_train::Interrupter;

use crate::denoising::Denoising;
use crate::model::encode;
use crate::noise::{noise_source, save_latents};
use crate::progress::Progress;
use crate::reconstruct::CHUNK;
use crate::report::timed;
use crate::sampled::{check_finite, to_values, values};
use crate::settings::Settings;
use crate::sink::{VideoSink, Videos, Written};

/// What was done, and what it took.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Encoding the prefix.
    pub prefix: Duration,
    pub sample: Duration,
    pub decode: Duration,
    pub encode: Duration,
    /// From the start of sampling: until the first frame was sampled, until it was decoded and
    /// encoded, and until the last video was complete.
    pub first_latent: Option<Duration>,
    pub first_decoded: Option<Duration>,
    pub total: Duration,
    pub network_evaluations: usize,
    pub frame_evaluations: usize,
    /// Frames sampled of each video that was begun.
    pub sampled: Vec<usize>,
    /// Whether how frames are denoised is written.
    pub denoising: bool,
    /// Whether frames are missing.
    pub interrupted: bool,
}

/// A run of `generate` at work.
pub struct Generation<'a> {
    model: &'a VideoModel,
    settings: &'a Settings,
    device: &'a Device,
    interrupter: &'a Interrupter,
    /// The latents of the prefix, `[1, frames, tokens, channels]`.
    prefix: Option<Tensor<4>>,
    start: Instant,
    progress: Progress,
    outcome: Outcome,
    /// Latents of each video, if they are to be saved.
    latents: Vec<Vec<f32>>,
}

impl<'a> Generation<'a> {
    /// Encodes the prefix.
    pub fn new(
        model: &'a VideoModel,
        settings: &'a Settings,
        device: &'a Device,
        interrupter: &'a Interrupter,
        quiet: bool,
    ) -> anyhow::Result<Self> {
        let mut outcome = Outcome::default();
        let prefix = timed(&mut outcome.prefix, || {
            encode_prefix(model, settings, device)
        })?;
        let count = settings.videos.len();
        let iterations = settings.sampler.plan().iterations() * count.div_ceil(settings.batch);
        Ok(Self {
            model,
            settings,
            device,
            interrupter,
            prefix,
            start: Instant::now(),
            progress: Progress::new(
                "iteration",
                iterations,
                frames_finished(0, count * settings.sampled_frames()),
                quiet,
            ),
            outcome,
            latents: Vec::new(),
        })
    }

    /// Samples until all videos are complete or an interrupt comes. What is finished then is kept;
    /// latents are saved of complete runs alone.
    pub fn run(mut self) -> anyhow::Result<Outcome> {
        let Settings { videos, batch, .. } = self.settings;
        for first in videos.clone().step_by(*batch) {
            if self.interrupter.should_stop() {
                break;
            }
            self.sample(first..videos.end.min(first + batch))?;
        }
        self.outcome.total = self.start.elapsed();
        let sampled: usize = self.outcome.sampled.iter().sum();
        self.outcome.interrupted = sampled < videos.len() * self.settings.sampled_frames();
        if let (Some(path), false) = (&self.settings.latents, self.outcome.interrupted) {
            let [tokens, channels] = self.settings.latent;
            save_latents(
                path,
                &self.latents,
                [self.settings.frames, tokens, channels],
            )?;
        }
        Ok(self.outcome)
    }

    /// Samples one batch and writes every frame as soon as it is finished.
    fn sample(&mut self, videos: Range<usize>) -> anyhow::Result<()> {
        let settings = self.settings;
        let (first, batch) = (videos.start, videos.len());
        let transformer = self.model.transformer()?;
        let prefix = self.prefix.clone().map(|prefix| {
            let [_, frames, tokens, channels] = prefix.dims();
            prefix.expand([batch, frames, tokens, channels])
        });
        let mut context = transformer.sampling_context(settings.class, batch, settings.guidance)?;
        if let Some(prefix) = &prefix {
            context = context.with_prefix(prefix.clone());
        }
        let noise = noise_source(
            settings.noise.as_ref(),
            settings.seed,
            (first, batch),
            settings.latent,
            self.device,
        );
        self.begin_videos(batch);
        let mut denoising = match &settings.denoising {
            Some(target) => Some(Denoising::start(
                target,
                self.model,
                prefix.as_ref(),
                noise.as_ref(),
                settings.frames,
            )?),
            None => None,
        };
        let mut sink = self.sink(videos.clone(), prefix)?;

        let mut run = transformer.sample(&settings.sampler, noise.as_ref(), context);
        while !self.interrupter.should_stop() {
            // Reading the finished latents waits for the device, so the times are true.
            let Some((evaluations, finished)) = timed(&mut self.outcome.sample, || {
                let iteration = run.next()?;
                let finished: Vec<(usize, Vec<f32>)> =
                    iteration.finished.iter().map(values).collect();
                Some((iteration.frame_evaluations, finished))
            }) else {
                break;
            };
            self.outcome.network_evaluations += 1;
            self.outcome.frame_evaluations += evaluations;
            for (index, latent) in finished {
                self.keep(videos.clone(), index, &latent)?;
                if let Some(sink) = &mut sink {
                    sink.write(latent)?;
                }
            }
            if let Some(denoising) = &mut denoising {
                denoising.add(&run)?;
            }
            let sampled = self.outcome.sampled.iter().sum();
            let frames = settings.videos.len() * settings.sampled_frames();
            self.progress.update(
                self.outcome.network_evaluations,
                frames_finished(sampled, frames),
            );
        }
        if let Some(denoising) = denoising {
            denoising.finish()?;
            self.outcome.denoising = true;
        }
        if let Some(sink) = sink {
            self.add(sink.finish()?);
        }
        Ok(())
    }

    fn begin_videos(&mut self, batch: usize) {
        let begun = self.outcome.sampled.len() + batch;
        self.outcome.sampled.resize(begun, 0);
        if self.settings.latents.is_some() {
            let prefix = self.prefix.clone().map_or_else(Vec::new, to_values);
            self.latents.resize(begun, prefix);
        }
    }

    /// The way to the files, if the model makes pixels.
    fn sink(
        &self,
        videos: Range<usize>,
        prefix_latents: Option<Tensor<4>>,
    ) -> anyhow::Result<Option<VideoSink>> {
        let settings = self.settings;
        let Some(target) = &settings.video else {
            return Ok(None);
        };
        let writers = videos.map(|index| target.create(&settings.path(target, index)));
        Ok(Some(VideoSink::start(Videos {
            model: self.model,
            device: self.device,
            writers: writers.collect::<Result<_, _>>()?,
            window: settings.window,
            prefix: &settings.prefix,
            prefix_latents,
            latent: settings.latent,
        })))
    }

    /// Takes note of a finished frame of `videos`.
    fn keep(&mut self, videos: Range<usize>, index: usize, latent: &[f32]) -> anyhow::Result<()> {
        check_finite(index, latent)?;
        self.outcome
            .first_latent
            .get_or_insert_with(|| self.start.elapsed());
        let first = self.settings.videos.start;
        let places = videos.start - first..videos.end - first;
        for sampled in &mut self.outcome.sampled[places.clone()] {
            *sampled += 1;
        }
        if self.settings.latents.is_some() {
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

fn frames_finished(finished: usize, frames: usize) -> String {
    format!("{finished} of {frames} frames")
}

/// The latents of the prefix, `[1, frames, tokens, channels]`.
fn encode_prefix(
    model: &VideoModel,
    settings: &Settings,
    device: &Device,
) -> anyhow::Result<Option<Tensor<4>>> {
    let chunks = settings.prefix.chunks(CHUNK);
    let latents: Vec<_> = chunks
        .map(|frames| encode(model, frames, device))
        .collect::<anyhow::Result<_>>()?;
    Ok((!latents.is_empty()).then(|| Tensor::cat(latents, 1)))
}
