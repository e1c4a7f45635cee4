use std::ops::Range;

use ar_activation_checkpointing::ActivationCheckpointing;
use ar_data::{LatentBatch, LatentItem};
use ar_diffusion::Diffusion;
use ar_model::{LatentStatistics, ModelError, Transformer};
use ar_noise::{FrameNoise, NoiseStream};
use ar_schedulers::{PlannedSampler, PlannedTimesteps, TimestepSampler};
use burn::module::Module;
use burn::tensor::{Device, FloatDType, Gradients, Int, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::validation::ValidationLoss;
use crate::config::DiffusionRun;
use crate::error::{ConfigError, Result};
use crate::learner::MicroBatch;
use crate::trainer::{Trainer, VALIDATION_STEP};

/// The diffusion loss of a configuration (method section 2).
pub struct Objective<'a> {
    config: &'a DiffusionRun,
    diffusion: Diffusion,
    statistics: Option<LatentStatistics>,
    /// None where timesteps follow no plans.
    planned: Option<PlannedSampler>,
}

/// The random choices of a step, one of each a piece of a clip; all clips of a step are cut into as
/// many. The same seed and step draw the same ones, and a clip's do not depend on how the step is
/// put into batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Draws {
    seed: u64,
    step: u64,
    /// Pieces of a clip.
    pieces: usize,
    /// Number of the first piece in the step.
    first: usize,
    /// By piece, then by frame.
    timesteps: Vec<Vec<usize>>,
    /// The frames of each piece that the loss is taken over; None for all of them.
    active: Option<Vec<Range<usize>>>,
    /// What those frames count, so that they average to one over the step's frames.
    weight: f64,
    /// Whether a piece trains on the null context.
    dropped: Vec<bool>,
}

impl Draws {
    /// The choices for `clips` of the step from the one numbered `first` on.
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

    /// The frames behind the last one that the loss is taken over.
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

    /// The noise that the pieces are corrupted with.
    fn noise(&self, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let [pieces, frames, tokens, channels] = shape;
        let noise = FrameNoise::new(self.seed);
        let values: Vec<f32> = (self.first..self.first + pieces)
            .flat_map(|piece| {
                // The step takes the place of the frame: one draw covers the whole piece.
                let len = frames * tokens * channels;
                noise.frame(piece as u64, self.step, NoiseStream::Training, len)
            })
            .collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// How long the pieces are that clips of `frames` frames are cut into: with probability `shorter` a
/// proper divisor of `frames`, else all of them.
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

/// What the network is given, and what it should answer.
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
    /// Each follows a plan of its own.
    Independent,
}

impl<'a> Objective<'a> {
    /// The objective of `config`, on latents standardised by `statistics`, if there are any.
    ///
    /// # Errors
    /// If the noise schedule or the plans of a planned sampler are impossible.
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

    /// The random choices of `step` for `clips` of `frames`.
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
        device: &Device,
    ) -> Result<Tensor<1>> {
        let mut checkpointing = ActivationCheckpointing::new(false);
        self.loss_checkpointed(&mut checkpointing, transformer, items, draws, device)
    }

    /// [`Objective::loss`] for a backward pass by [`ActivationCheckpointing::backward`].
    fn loss_checkpointed(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: Draws,
        device: &Device,
    ) -> Result<Tensor<1>> {
        let Some(active) = &draws.active else {
            let (prediction, task) =
                self.predict(checkpointing, transformer, items, &draws, device)?;
            return Ok(self.config.loss.loss(prediction, task.target));
        };
        let error = self.error_by_frame(checkpointing, transformer, items, &draws, device)?;
        let [pieces, seen] = error.dims();
        let weights = draws.weights(active, seen, device);
        Ok((error * weights).sum() / (pieces * draws.timesteps[0].len()) as f64)
    }

    /// The loss of each frame, `[pieces, frames]`, without the frames that wait in all pieces.
    fn error_by_frame(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: &Draws,
        device: &Device,
    ) -> Result<Tensor<2>> {
        let (prediction, task) = self.predict(checkpointing, transformer, items, draws, device)?;
        let frames = draws.timesteps[0].len();
        Ok(self.config.loss.by_frame(prediction, task.target, frames))
    }

    /// What the network answers, in 32-bit floats, whatever it has computed in.
    fn predict(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: &Draws,
        device: &Device,
    ) -> Result<(Tensor<4>, Task)> {
        let task = self.task(transformer, items, draws, device)?;
        let prediction = transformer.dit().forward_checkpointed(
            checkpointing,
            task.noisy.clone(),
            task.timesteps.clone(),
            task.context.clone(),
        );
        Ok((prediction.cast(FloatDType::F32), task))
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
            let (share, device) = (part.share, part.device);
            let draws = draws.part(part.clips.start, part.clips.len());
            let items = &items[part.clips];
            let mut checkpointing =
                ActivationCheckpointing::new(self.config.activation_checkpointing);
            let loss =
                self.loss_checkpointed(&mut checkpointing, part.network, items, draws, device)?
                    * share;
            checkpointing.backward(&loss, collect);
            Ok(loss)
        };
        let batch_size = self.config.run.batch_size;
        let learner = &mut trainer.learner;
        learner.accumulate_parts(items.len(), batch_size, backward)
    }

    /// What the network is given, and what it should answer.
    fn task(
        &self,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: &Draws,
        device: &Device,
    ) -> Result<Task> {
        let config = self.config;
        let batch = LatentBatch::new(items, device);
        let x0 = match &self.statistics {
            Some(statistics) => statistics.standardize(batch.latents),
            None => batch.latents,
        };
        let [clips, frames, tokens, channels] = x0.dims();
        let (clips, frames) = (clips * draws.pieces, frames / draws.pieces);
        let x0 = x0.reshape([clips, frames, tokens, channels]);
        // Nothing sees the frames that wait where nothing flows back in time.
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
            // In the floats of the network.
            noisy: noisy.cast(context.dtype()),
            timesteps: t,
            context,
            target,
        })
    }

    /// The loss over validation clips, at the same timesteps and noise every time, however the clips
    /// are put into batches.
    ///
    /// # Errors
    /// If a label is out of range.
    pub fn validation_loss(
        &self,
        transformer: &Transformer,
        items: &[LatentItem],
    ) -> Result<ValidationLoss> {
        let device = &transformer.devices()[0];
        let frames = items[0].shape[0];
        let mut loss = ValidationLoss::new(frames, self.diffusion.schedule().timesteps());
        // Plans of a training step share their step difference; few clips are to see them all.
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
                device,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use ar_dit::{CausalMask, DitConfig};
    use ar_model::ConditioningConfig;
    use burn::module::{ModuleVisitor, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::DType;

    use crate::config::ComputePrecision;

    fn config() -> DiffusionRun {
        DiffusionRun {
            context_dropout: 0.2,
            transformer: DitConfig {
                num_frames: 3,
                tokens_per_frame: 2,
                in_channels: 4,
                hidden_size: 16,
                depth: 1,
                num_heads: 2,
                context_tokens: 2,
                context_dim: 8,
                ..DitConfig::default()
            },
            conditioning: ConditioningConfig {
                classes: 3,
                ..ConditioningConfig::default()
            },
            ..DiffusionRun::default()
        }
    }

    fn items(count: usize) -> Vec<LatentItem> {
        let item = |clip| LatentItem {
            latents: (0..24).map(|i| ((clip * 24 + i) as f32).sin()).collect(),
            shape: [3, 2, 4],
            label: Some(clip % 3),
        };
        (0..count).map(item).collect()
    }

    fn network(config: &DiffusionRun, device: &Device) -> Transformer {
        Transformer::new(&config.transformer, &config.conditioning, device).expect("a network")
    }

    #[test]
    fn the_context_is_dropped_with_the_stated_probability() {
        for probability in [0.0, 0.2, 1.0] {
            let config = DiffusionRun {
                context_dropout: probability,
                ..config()
            };
            let objective = Objective::new(&config, None).expect("an objective");
            let clips = 50.0 * 400.0;
            let dropped: usize = (0..50)
                .map(|step| objective.draws(step, [400, 3]))
                .map(|draws| draws.dropped().iter().filter(|&&dropped| dropped).count())
                .sum();
            // Five standard deviations of a binomial count.
            let tolerance = 5.0 * (clips * probability * (1.0 - probability)).sqrt();
            let error = (dropped as f64 - clips * probability).abs();
            assert!(error <= tolerance, "{dropped} of {clips} at {probability}");
        }
    }

    #[test]
    fn training_is_steady_with_classes_that_are_dropped() {
        let device = Device::flex().autodiff();
        let mut config = config();
        config.transformer.depth = 4;
        config.optimizer.learning_rate = 1e-3;
        device.seed(6);
        let network = network(&config, &device);
        let [without, with] = [0.0, 0.5].map(|context_dropout| {
            config.context_dropout = context_dropout;
            let objective = Objective::new(&config, None).expect("an objective");
            let mut trainer = Trainer::new(network.clone(), &config.optimizer, 60);
            let step = |step| {
                let draws = objective.draws(step, [8, 3]);
                let loss = objective.accumulate(&mut trainer, &items(8), &draws);
                (loss.expect("a loss"), trainer.update().gradient_norm)
            };
            let (losses, norms): (Vec<f64>, Vec<f64>) = (0..60).map(step).unzip();
            assert_eq!(trainer.position.skipped, 0);
            let half = losses[30..].iter().sum::<f64>() / 30.0;
            assert!(half < 0.9 * losses[0], "{losses:?}");
            norms.into_iter().fold(0.0, f64::max)
        });
        assert!(with < 2.0 * without, "{with} {without}");
    }

    #[test]
    fn the_validation_loss_is_that_of_any_batches() {
        let device = Device::flex();
        device.seed(5);
        let mut config = config();
        let transformer = network(&config, &device);
        let items = items(5);
        let [whole, parts] = [5, 2].map(|batch_size| {
            config.run.batch_size = batch_size;
            let objective = Objective::new(&config, None).expect("an objective");
            let loss = objective.validation_loss(&transformer, &items);
            loss.expect("labels in range").mean()
        });
        // Sums of 120 numbers in another order.
        assert!((whole - parts).abs() < 1e-5 * whole, "{whole} {parts}");
    }

    #[test]
    fn short_clips_divide_the_whole() {
        let lengths = |shorter| {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            (0..64)
                .map(|_| piece_length(6, shorter, &mut rng))
                .collect::<BTreeSet<usize>>()
        };
        assert_eq!(lengths(0.0), [6].into());
        assert_eq!(lengths(1.0), [1, 2, 3].into());
        assert_eq!(lengths(0.5), [1, 2, 3, 6].into());
    }

    #[test]
    fn pieces_keep_the_label_of_their_clip() {
        assert_eq!(repeat_each(&[4, 7], 3), [4, 4, 4, 7, 7, 7]);
    }

    #[test]
    fn batches_of_a_step_have_the_loss_and_the_gradient_of_the_whole() {
        // Clips of three frames cut into single ones.
        let config = DiffusionRun {
            short_clips: 1.0,
            ..config()
        };
        let device = Device::flex().autodiff();
        let objective = Objective::new(&config, None).expect("an objective");
        let items = items(6);
        let draws = objective.draws(5, [6, 3]);
        let mut whole = Trainer::new(network(&config, &device), &config.optimizer, 10);
        let mut parts = Trainer::new(whole.model().clone(), &config.optimizer, 10);
        let loss = objective.loss(whole.model(), &items, draws.clone(), &device);
        let whole_loss = whole.accumulate(loss.expect("a loss"), 1.0);
        let mut part_loss = 0.0;
        for (part, items) in items.chunks(2).enumerate() {
            let draws = draws.part(2 * part, 2);
            let loss = objective.loss(parts.model(), items, draws, &device);
            part_loss += parts.accumulate(loss.expect("a loss"), 1.0 / 3.0) / 3.0;
        }
        assert!((whole_loss - part_loss).abs() < 1e-5);
        let [whole, parts] = [whole.update(), parts.update()].map(|report| report.gradient_norm);
        assert!((whole / parts - 1.0).abs() < 1e-4, "{whole} {parts}");
    }

    /// A causal network under the planned sampler.
    fn planned() -> DiffusionRun {
        let config = config();
        DiffusionRun {
            timestep_sampler: TimestepSampler::Planned,
            transformer: DitConfig {
                causal_mask: CausalMask::TemporalCausal,
                ..config.transformer
            },
            ..config
        }
    }

    #[test]
    fn the_loss_of_a_plan_is_the_mean_over_active_frames() {
        let config = planned();
        let device = Device::flex();
        let objective = Objective::new(&config, None).expect("an objective");
        let transformer = network(&config, &device);
        let items = items(1);
        let mut waited = false;
        for step in 0..16 {
            let draws = objective.draws(step, [1, 3]);
            let active = draws.active.clone().expect("plans");
            waited |= draws.end_of_active().expect("plans") < 3;
            let loss = objective.loss(&transformer, &items, draws.clone(), &device);
            let loss = f64::from(loss.expect("a loss").into_scalar::<f32>());

            // All frames, those that wait too: nothing is cut off.
            let whole = Draws {
                active: None,
                ..draws
            };
            let task = objective.task(&transformer, &items, &whole, &device);
            let task = task.expect("a task");
            let prediction = transformer
                .dit()
                .forward(task.noisy, task.timesteps, task.context);
            let error = (prediction - task.target).square();
            let error: Vec<f32> = error.into_data().iter().collect();
            let frames: Vec<&[f32]> = error.chunks(8).collect();
            let active = &frames[active[0].clone()];
            let expected =
                active.concat().into_iter().map(f64::from).sum::<f64>() / (8 * active.len()) as f64;
            assert!((loss / expected - 1.0).abs() < 1e-5, "{loss} {expected}");
        }
        assert!(waited, "no step in which a frame waits");
    }

    #[test]
    fn batches_of_a_planned_step_have_the_loss_of_the_whole() {
        let config = planned();
        let device = Device::flex();
        let objective = Objective::new(&config, None).expect("an objective");
        let transformer = network(&config, &device);
        let items = items(6);
        let loss = |draws: Draws, items: &[LatentItem]| {
            let loss = objective.loss(&transformer, items, draws, &device);
            f64::from(loss.expect("a loss").into_scalar::<f32>())
        };
        for step in 0..8 {
            let draws = objective.draws(step, [6, 3]);
            let parts: f64 = (0..3)
                .map(|part| loss(draws.part(2 * part, 2), &items[2 * part..2 * part + 2]) / 3.0)
                .sum();
            let whole = loss(draws, &items);
            assert!((whole / parts - 1.0).abs() < 1e-5, "{whole} {parts}");
        }
    }

    #[test]
    fn impossible_plans_are_refused() {
        let mut config = planned();
        config.sampling.steps = 20;
        let error = Objective::new(&config, None)
            .map(drop)
            .expect_err("refused");
        assert_eq!(error.keys(), ["planned.ar_steps"]);
        let cause = std::error::Error::source(&error).expect("a cause");
        let message = format!("{error}: {cause}");
        assert!(message.contains("[planned]: ar_steps has 25"), "{message}");
    }

    #[test]
    fn blocks_that_are_computed_again_train_the_same() {
        let device = Device::flex().autodiff();
        let [mut norms, mut losses] = [[0.0; 2], [0.0; 2]];
        let network = network(&config(), &device);
        for activation_checkpointing in [false, true] {
            let config = DiffusionRun {
                activation_checkpointing,
                ..config()
            };
            let objective = Objective::new(&config, None).expect("an objective");
            let mut trainer = Trainer::new(network.clone(), &config.optimizer, 10);
            for step in 0..4 {
                let draws = objective.draws(step, [2, 3]);
                let loss = objective.accumulate(&mut trainer, &items(2), &draws);
                losses[usize::from(activation_checkpointing)] = loss.expect("a loss");
                norms[usize::from(activation_checkpointing)] = trainer.update().gradient_norm;
            }
        }
        // Adam's first steps magnify rounding.
        assert!((norms[0] / norms[1] - 1.0).abs() < 1e-3, "{norms:?}");
        assert!((losses[0] / losses[1] - 1.0).abs() < 1e-4, "{losses:?}");
    }

    #[test]
    fn sixteen_bits_train_weights_of_thirty_two() {
        let device = Device::flex().autodiff();
        for activation_checkpointing in [false, true] {
            let config = DiffusionRun {
                activation_checkpointing,
                ..config()
            };
            let objective = Objective::new(&config, None).expect("an objective");
            let network = network(&config, &device);
            let [full, half] = [ComputePrecision::F32, ComputePrecision::Bf16].map(|precision| {
                let mut trainer = Trainer::new(network.clone(), &config.optimizer, 10);
                // The last layer starts at zero: two steps open the way for all gradients.
                for step in 0..2 {
                    let draws = objective.draws(step, [4, 3]);
                    let loss = objective.accumulate(&mut trainer, &items(4), &draws);
                    loss.expect("a loss");
                    trainer.update();
                }
                trainer = trainer.with_precision(precision);
                let draws = objective.draws(2, [4, 3]);
                let loss = objective.accumulate(&mut trainer, &items(4), &draws);
                let norm = trainer.update().gradient_norm;
                let weights = trainer.model().context().unconditional(1);
                assert_eq!(weights.dtype(), DType::F32);
                [loss.expect("a loss"), norm]
            });
            for (full, half) in full.iter().zip(half) {
                // bf16 has 8 bits of precision: other than f32, and close to it.
                let error = (half / full - 1.0).abs();
                assert!(error > 0.0 && error < 0.02, "{full} and {half}");
            }
        }
    }

    #[test]
    fn the_context_vectors_train_or_stay() {
        /// The gradient of the table of classes, of which there is one tensor of three axes.
        struct OfContext<'a>(&'a GradientsParams, Option<Vec<f32>>);
        impl ModuleVisitor for OfContext<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if D == 3
                    && let Some(gradient) = self.0.get::<D>(param.id)
                {
                    self.1 = Some(gradient.into_data().iter::<f32>().collect());
                }
            }
        }
        let device = Device::flex().autodiff();
        for trainable in [true, false] {
            let mut config = config();
            config.conditioning.trainable = trainable;
            config.context_dropout = 0.0;
            let objective = Objective::new(&config, None).expect("an objective");
            let mut trainer = Trainer::new(network(&config, &device), &config.optimizer, 10);
            // The last layer starts at zero: nothing reaches the context in the first step.
            for step in 0..3 {
                let draws = objective.draws(step, [2, 3]);
                let loss = objective.loss(trainer.model(), &items(2), draws, &device);
                trainer.accumulate(loss.expect("a loss"), 1.0);
                trainer.update();
            }
            let draws = objective.draws(3, [2, 3]);
            let loss = objective.loss(trainer.model(), &items(2), draws, &device);
            let gradients = loss.expect("a loss").backward();
            let gradients = GradientsParams::from_grads(gradients, trainer.model());
            let mut of_context = OfContext(&gradients, None);
            trainer.model().context().visit(&mut of_context);
            match (trainable, of_context.1) {
                (false, gradient) => assert!(gradient.is_none()),
                (true, gradient) => {
                    let gradient = gradient.expect("a gradient");
                    // Rows of null, class 0, 1 and 2, of which the batch has 0 and 1.
                    let moved = |row: &[f32]| row.iter().any(|&value| value != 0.0);
                    let rows: Vec<bool> = gradient.chunks_exact(16).map(moved).collect();
                    assert_eq!(rows, [false, true, true, false]);
                }
            }
        }
    }
}
