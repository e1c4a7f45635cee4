use std::ops::Range;

use ar_activation_checkpointing::ActivationCheckpointing;
use ar_data::{LatentBatch, LatentItem};
use ar_diffusion::Diffusion;
use ar_model::{LatentStatistics, ModelError, Transformer};
use ar_noise::{FrameNoise, NoiseStream};
use ar_schedulers::{PlannedSampler, PlannedTimesteps, TimestepSampler};
use burn::module::Module;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::validation::ValidationLoss;
use crate::config::DiffusionRun;
use crate::error::{ConfigError, Result};
use crate::learner::MicroBatch;
use crate::trainer::{Trainer, VALIDATION_STEP};

#[cfg(test)]
mod tests;

/// The diffusion loss of a configuration (method section 2).
pub struct Objective<'a> {
    config: &'a DiffusionRun,
    diffusion: Diffusion,
    statistics: Option<LatentStatistics>,
    /// None if timesteps do not follow plans.
    planned: Option<PlannedSampler>,
}

/// The random choices of a step, one of each per piece of a clip; all clips of a step are cut into the same number of
/// pieces. The same seed and step give the same choices, and a clip's choices do not depend on how the step is divided
/// into batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    seed: u64,
    step: u64,
    /// Pieces per clip.
    pieces: usize,
    /// Number of the first piece in the step.
    first: usize,
    /// By piece, then by frame.
    timesteps: Vec<Vec<usize>>,
    /// The frames of each piece that are in the loss; None for all of them.
    active: Option<Vec<Range<usize>>>,
    /// The weight of those frames, so that weights average to one over the step's frames.
    weight: f64,
    /// Whether a piece trains on the null context.
    dropped: Vec<bool>,
}

impl Draws {
    /// The choices for `clips` clips of the step, starting at number `first`.
    pub fn part(&self, first: usize, clips: usize) -> Self {
        let part = first * self.pieces..(first + clips) * self.pieces;
        Self {
            first: self.first + part.start,
            timesteps: self.timesteps[part.clone()].to_vec(),
            active: self
                .active
                .as_ref()
                .map(|active| active[part.clone()].to_vec()),
            dropped: self.dropped[part].to_vec(),
            ..*self
        }
    }

    /// Whether each piece trains on the null context.
    pub fn dropped(&self) -> &[bool] {
        &self.dropped
    }

    /// The end of the frames that are in the loss.
    fn end_of_active(&self) -> Option<usize> {
        let active = self.active.as_ref()?;
        active.iter().map(|active| active.end).max()
    }

    /// The weights of frames in the loss, `[pieces, frames]`.
    fn weights(&self, active: &[Range<usize>], frames: usize, device: &Device) -> Tensor<2> {
        let weight = |counts| if counts { self.weight as f32 } else { 0.0 };
        let weights: Vec<f32> = active
            .iter()
            .flat_map(|active| (0..frames).map(|frame| weight(active.contains(&frame))))
            .collect();
        Tensor::from_data(TensorData::new(weights, [active.len(), frames]), device)
    }

    /// The noise for corrupting the pieces.
    fn noise(&self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let [pieces, frames, tokens, channels] = shape;
        let noise = FrameNoise::new(self.seed);
        let values: Vec<f32> = (self.first..self.first + pieces)
            .flat_map(|piece| {
                // The step is used instead of the frame: one draw covers the whole piece.
                let len = frames * tokens * channels;
                noise.frame(piece as u64, self.step, NoiseStream::Training, len)
            })
            .collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// The length of the pieces that clips of `frames` frames are cut into: with probability `shorter` a proper divisor of
/// `frames`, otherwise `frames`.
fn piece_length(frames: usize, shorter: f64, rng: &mut impl Rng) -> usize {
    let divisors: Vec<usize> = (1..frames).filter(|&n| frames.is_multiple_of(n)).collect();
    let is_shorter = rng.random_bool(shorter);
    if is_shorter && !divisors.is_empty() {
        divisors[rng.random_range(..divisors.len())]
    } else {
        frames
    }
}

/// Every value `times` times: `a, a, b, b, ..`.
fn repeat_each(values: &[usize], times: usize) -> Vec<usize> {
    let each = values
        .iter()
        .map(|&value| std::iter::repeat_n(value, times));
    each.flatten().collect()
}

/// The inputs of the network, and its target.
struct Task {
    /// `[pieces, frames, tokens, channels]`
    noisy: Tensor<4>,
    /// `[pieces, frames]`
    timesteps: Tensor<2, Int>,
    /// `[pieces, context_tokens, context_dim]`
    context: Tensor<3>,
    /// `[pieces, frames, tokens, channels]`
    target: Tensor<4>,
}

/// How the clips of a step share plans.
#[derive(Clone, Copy, Debug)]
enum Plans {
    /// All follow one plan, and are spread over it.
    Shared,
    /// Each follows its own plan.
    Independent,
}

impl<'a> Objective<'a> {
    /// The objective of `config`, on latents standardised by `statistics`, if there are any.
    ///
    /// # Errors
    /// If the noise schedule or the plans of a planned sampler are invalid.
    pub fn new(
        config: &'a DiffusionRun,
        statistics: Option<LatentStatistics>,
    ) -> Result<Self, ConfigError> {
        let diffusion = config.diffusion.init().map_err(ModelError::from)?;
        let timesteps = diffusion.schedule().timesteps();
        let planned = (config.timestep_sampler == TimestepSampler::Planned).then(|| {
            let planned = config.planned.clone();
            PlannedSampler::new(planned, config.sampling.steps, timesteps).map_err(|error| {
                let keys = error.keys().iter().map(|key| format!("planned.{key}"));
                ConfigError::new(keys, "[planned]").because(error)
            })
        });
        Ok(Self {
            config,
            diffusion,
            statistics,
            planned: planned.transpose()?,
        })
    }

    /// The random choices of `step`, for `clips` clips of `frames` frames.
    pub fn draws(&self, step: u64, clips_and_frames: [usize; 2]) -> Draws {
        self.draws_of(
            step,
            clips_and_frames,
            self.config.short_clips,
            Plans::Shared,
        )
    }

    fn draws_of(
        &self,
        step: u64,
        [clips, frames]: [usize; 2],
        short_clips: f64,
        plans: Plans,
    ) -> Draws {
        let config = self.config;
        let seed = config.run.seed;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(step);
        let length = piece_length(frames, short_clips, &mut rng);
        let pieces = frames / length;
        let total = self.diffusion.schedule().timesteps();
        let (timesteps, active): (Vec<_>, Option<Vec<_>>) = match &self.planned {
            Some(planned) => {
                let (plans, each) = match plans {
                    Plans::Shared => (1, clips * pieces),
                    Plans::Independent => (clips * pieces, 1),
                };
                let drawn = (0..plans).flat_map(|_| planned.sample([each, length], &mut rng));
                let both = |clip: PlannedTimesteps| (clip.timesteps, clip.active);
                let (timesteps, active) = drawn.map(both).unzip();
                (timesteps, Some(active))
            }
            None => {
                let mut draw = || config.timestep_sampler.sample(length, total, &mut rng);
                ((0..clips * pieces).map(|_| draw()).collect(), None)
            }
        };
        let weight = active.as_ref().map_or(1.0, |active| {
            let active: usize = active.iter().map(Range::len).sum();
            (clips * pieces * length) as f64 / active as f64
        });
        let dropped = (0..clips * pieces)
            .map(|_| rng.random_bool(config.context_dropout))
            .collect();
        Draws {
            seed,
            step,
            pieces,
            first: 0,
            timesteps,
            active,
            weight,
            dropped,
        }
    }

    /// The loss of a batch at drawn timesteps and noise.
    ///
    /// # Shapes
    /// - output: `[1]`
    ///
    /// # Errors
    /// If a label is out of range.
    pub fn loss(
        &self,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: Draws,
    ) -> Result<Tensor<1>> {
        let mut checkpointing = ActivationCheckpointing::new(false);
        self.loss_checkpointed(&mut checkpointing, transformer, items, draws)
    }

    /// [`Objective::loss`] for a backward pass by [`ActivationCheckpointing::backward`].
    fn loss_checkpointed(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: Draws,
    ) -> Result<Tensor<1>> {
        let Some(active) = &draws.active else {
            if self.config.loss.vlb > 0.0 {
                let error = self.error_by_frame(checkpointing, transformer, items, &draws)?;
                return Ok(error.mean());
            }
            let (prediction, task) = self.predict(checkpointing, transformer, items, &draws)?;
            return Ok(self.config.loss.loss(prediction, task.target));
        };
        let error = self.error_by_frame(checkpointing, transformer, items, &draws)?;
        let [pieces, seen] = error.dims();
        let weights = draws.weights(active, seen, &error.device());
        Ok((error * weights).sum() / (pieces * draws.timesteps[0].len()) as f64)
    }

    /// The loss of each frame, `[pieces, frames]`, without the frames that are waiting in all pieces.
    fn error_by_frame(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: &Draws,
    ) -> Result<Tensor<2>> {
        let (prediction, task) = self.predict(checkpointing, transformer, items, draws)?;
        let frames = draws.timesteps[0].len();
        let error = self.config.loss.by_frame(prediction, task.target, frames);
        Ok(self.with_bound(error, draws))
    }

    /// The errors of frames, `[pieces, frames]`, plus their weights in the variational bound.
    fn with_bound(&self, error: Tensor<2>, draws: &Draws) -> Tensor<2> {
        let weight = self.config.loss.vlb;
        if weight == 0.0 {
            return error;
        }
        let [pieces, seen] = error.dims();
        let timesteps = draws.timesteps.iter().flat_map(|t| &t[..seen]);
        let factors = timesteps.map(|&t| (1.0 + weight * self.diffusion.vlb_weight(t)) as f32);
        let factors = TensorData::new(factors.collect::<Vec<_>>(), [pieces, seen]);
        let device = error.device();
        error * Tensor::from_data(factors, &device)
    }

    /// The output of the network.
    fn predict(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: &Draws,
    ) -> Result<(Tensor<4>, Task)> {
        let task = self.task(transformer, items, draws)?;
        let prediction = transformer.dit().forward_checkpointed(
            checkpointing,
            task.noisy.clone(),
            task.timesteps.clone(),
            task.context.clone(),
        );
        Ok((prediction, task))
    }

    /// Adds the gradient of the mean [`Objective::loss`] over the clips `items` to the next step of
    /// `trainer`, in batches, and returns that loss.
    ///
    /// # Errors
    /// If a label is out of range.
    pub fn accumulate(
        &self,
        trainer: &mut Trainer<Transformer>,
        items: &[LatentItem],
        draws: &Draws,
    ) -> Result<f64> {
        let backward = |part: MicroBatch<'_, Transformer>, collect: &mut dyn FnMut(Gradients)| {
            let share = part.share;
            let draws = draws.part(part.clips.start, part.clips.len());
            let items = &items[part.clips];
            let mut checkpointing =
                ActivationCheckpointing::new(self.config.activation_checkpointing);
            let loss =
                self.loss_checkpointed(&mut checkpointing, part.network, items, draws)? * share;
            checkpointing.backward(&loss, collect);
            Ok(loss)
        };
        let batch_size = self.config.run.batch_size;
        let learner = &mut trainer.learner;
        learner.accumulate_parts(items.len(), batch_size, backward)
    }

    /// The inputs of the network, and its target.
    fn task(&self, transformer: &Transformer, items: &[LatentItem], draws: &Draws) -> Result<Task> {
        let config = self.config;
        let device = &transformer.devices()[0];
        let batch = LatentBatch::new(items, device);
        let x0 = match &self.statistics {
            Some(statistics) => statistics.standardize(batch.latents),
            None => batch.latents,
        };
        let [clips, frames, tokens, channels] = x0.dims();
        let (clips, frames) = (clips * draws.pieces, frames / draws.pieces);
        let x0 = x0.reshape([clips, frames, tokens, channels]);
        // If nothing flows back in time, nothing sees the frames that are waiting.
        let seen = draws
            .end_of_active()
            .filter(|_| config.transformer.is_causal());
        let seen = seen.unwrap_or(frames);
        let x0 = x0.narrow(1, 0, seen);
        let noise = draws.noise(x0.dims(), device);
        let timesteps = draws.timesteps.iter().flat_map(|t| &t[..seen]);
        let timesteps: Vec<usize> = timesteps.copied().collect();
        let noisy = self
            .diffusion
            .corrupt(x0.clone(), noise.clone(), &timesteps);
        let target = self.diffusion.target(x0, noise, &timesteps);
        let t: Vec<i64> = timesteps.iter().map(|&t| t as i64).collect();
        let t = Tensor::<2, Int>::from_data(TensorData::new(t, [clips, seen]), device);
        let labels = batch.labels.filter(|_| config.conditioning.classes > 0);
        let labels = labels.map(|labels| repeat_each(&labels, draws.pieces));
        let context = transformer
            .context()
            .training(labels.as_deref(), &draws.dropped)?;
        Ok(Task {
            noisy,
            timesteps: t,
            context,
            target,
        })
    }

    /// The loss over validation clips, with the same timesteps and noise every time, however the clips are divided into
    /// batches.
    ///
    /// # Errors
    /// If a label is out of range.
    pub fn validation_loss(
        &self,
        transformer: &Transformer,
        items: &[LatentItem],
    ) -> Result<ValidationLoss> {
        let frames = items[0].shape[0];
        let mut loss = ValidationLoss::new(frames, self.diffusion.schedule().timesteps());
        // The plans of a training step share their step difference, but here few clips have to cover all step
        // differences.
        let plans = Plans::Independent;
        let all = self.draws_of(VALIDATION_STEP, [items.len(), frames], 0.0, plans);
        let mut done = 0;
        for items in items.chunks(self.config.run.batch_size) {
            let draws = all.part(done, items.len());
            done += items.len();
            let error = self.error_by_frame(
                &mut ActivationCheckpointing::new(false),
                transformer,
                items,
                &draws,
            )?;
            let [_, seen] = error.dims();
            let error: Vec<f32> = error.into_data().iter().collect();
            for (clip, error) in error.chunks_exact(seen).enumerate() {
                let active = draws.active.as_ref().map(|active| active[clip].clone());
                for frame in active.unwrap_or(0..frames) {
                    loss.add(frame, draws.timesteps[clip][frame], error[frame]);
                }
            }
        }
        Ok(loss)
    }
}
