//! Training of a network: steps of its [`Learner`] with the learning-rate schedule, the average of the weights, and how
//! far training has come.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::config::{ComputePrecision, OptimizerConfig};
use crate::ema::average;
use crate::learner::Learner;
use crate::workers::Workers;

/// The step that addresses the random numbers of validation; training steps stay far below.
pub const VALIDATION_STEP: u64 = u64::MAX;

/// A network in training.
pub struct Trainer<M> {
    /// The raw weights and the optimizer.
    pub learner: Learner<M>,
    /// The exponential moving average of the weights, without autodiff.
    pub ema: M,
    /// How far training has come.
    pub position: Position,
    config: OptimizerConfig,
    steps: usize,
}

/// How far training has come. The schedule and every random number follow from the step and the
/// configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done, including skipped ones.
    pub step: usize,
    /// Steps that were skipped because the loss or the gradient was not finite.
    #[serde(default)]
    pub skipped: usize,
    /// How many of the most recent steps in a row.
    #[serde(default)]
    pub skipped_in_a_row: usize,
}

/// What one step did.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// The learning rate.
    pub learning_rate: f64,
    /// Norm of the gradient over all trained parameters, before clipping; NaN in a step without one.
    pub gradient_norm: f64,
    /// Whether the loss or the gradient was not finite, so that nothing changed.
    pub skipped: bool,
    /// How far training has come after the step.
    pub position: Position,
}

impl<M: Module> Trainer<M> {
    /// A trainer for a run of `steps` steps.
    pub fn new(model: M, config: &OptimizerConfig, steps: usize) -> Self {
        Self {
            ema: model.valid(),
            learner: Learner::new(model, config),
            position: Position::default(),
            config: config.clone(),
            steps,
        }
    }

    /// Computes in `precision`; see [`Learner::with_precision`].
    pub fn with_precision(mut self, precision: ComputePrecision) -> Self {
        self.learner = self.learner.with_precision(precision);
        self
    }

    /// Trains with all of `workers`; see [`Learner::with_workers`].
    pub fn with_workers(mut self, workers: &Workers) -> Self {
        self.learner = self.learner.with_workers(workers);
        self
    }

    /// The raw weights.
    pub fn model(&self) -> &M {
        &self.learner.model
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.position.step
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.position.step >= self.steps
    }

    /// Adds `share` of the gradient of `loss` to the gradient of the next step, and returns the loss. With equal parts
    /// of a batch, their mean losses, and shares that sum to one, this is the gradient of the whole batch.
    ///
    /// # Shapes
    /// - `loss`: `[1]`
    pub fn accumulate(&mut self, loss: Tensor<1>, share: f64) -> f64 {
        self.learner.accumulate(loss, share)
    }

    /// Takes one step along the accumulated gradient. A step whose loss or gradient is not finite changes neither the
    /// weights, the average nor the optimizer.
    pub fn update(&mut self) -> StepReport {
        let learning_rate = self.config.learning_rate_at(self.position.step, self.steps);
        let update = self.learner.update(learning_rate);
        self.position.step += 1;
        if update.skipped {
            self.position.skipped += 1;
            self.position.skipped_in_a_row += 1;
        } else {
            self.position.skipped_in_a_row = 0;
            let decay = self.config.ema_decay_at(self.position.step);
            self.ema = average(self.ema.clone(), &self.learner.model, decay);
        }
        StepReport {
            learning_rate,
            gradient_norm: update.gradient_norm,
            skipped: update.skipped,
            position: self.position,
        }
    }

    /// Counts a step in which another network trains.
    pub fn rest(&mut self) -> StepReport {
        let learning_rate = self.config.learning_rate_at(self.position.step, self.steps);
        self.position.step += 1;
        StepReport {
            learning_rate,
            gradient_norm: f64::NAN,
            skipped: false,
            position: self.position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Distribution};

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    fn trainer() -> Trainer<Linear> {
        let config = OptimizerConfig {
            learning_rate: 0.1,
            weight_decay: 0.0,
            ..OptimizerConfig::default()
        };
        let device = Device::flex().autodiff();
        Trainer::new(LinearConfig::new(2, 1).init(&device), &config, 10)
    }

    fn loss(model: &Linear, input: Tensor<2>) -> Tensor<1> {
        (model.forward(input) - 1.0).square().mean()
    }

    #[test]
    fn the_average_follows_the_weights() {
        let mut trainer = trainer();
        let before = values(trainer.model().weight.val());
        let input = Tensor::<2>::from_floats([[0.75, 0.0]], &Device::flex().autodiff());
        let output = trainer.model().forward(input);
        trainer.accumulate(output.sum(), 1.0);
        trainer.update();
        let after = values(trainer.model().weight.val());
        // Adam's first step is the learning rate times the negative sign of the gradient.
        assert!((after[0] - (before[0] - 0.1)).abs() < 1e-6);
        // Decay (1 + 1) / (10 + 1).
        let expected = before[0] + (after[0] - before[0]) * (1.0 - 2.0 / 11.0);
        assert!((values(trainer.ema.weight.val())[0] - expected).abs() < 1e-6);
    }

    #[test]
    fn parts_of_a_batch_add_up_to_the_whole() {
        let device = Device::flex().autodiff();
        let input = Tensor::<2>::random([6, 2], Distribution::Normal(0.0, 1.0), &device);
        let mut whole = trainer();
        let mut parts = Trainer::new(whole.model().clone(), &whole.config, 10);
        for _ in 0..5 {
            let whole_loss = loss(whole.model(), input.clone());
            let whole_loss = whole.accumulate(whole_loss, 1.0);
            let mut part_loss = 0.0;
            for part in 0..3 {
                let input = input.clone().narrow(0, 2 * part, 2);
                let loss = loss(parts.model(), input);
                part_loss += parts.accumulate(loss, 1.0 / 3.0) / 3.0;
            }
            assert!((whole_loss - part_loss).abs() < 1e-6);
            let [whole, parts] = [whole.update(), parts.update()];
            assert!((whole.gradient_norm - parts.gradient_norm).abs() < 1e-5);
        }
        let [whole, parts] = [whole, parts].map(|t| values(t.ema.weight.val()));
        for (whole, part) in whole.iter().zip(&parts) {
            assert!((whole - part).abs() < 1e-5, "{whole} {part}");
        }
    }

    #[test]
    fn a_step_that_is_not_finite_changes_nothing_but_the_count() {
        let device = Device::flex().autodiff();
        let input = Tensor::<2>::from_floats([[0.5, 2.0]], &device);
        let mut trainer = trainer();
        let mut undisturbed = Trainer::new(trainer.model().clone(), &trainer.config, 10);
        // The first loss is NaN; the second is finite, but its gradient is not.
        let broken: [fn(Tensor<1>) -> Tensor<1>; 2] =
            [|loss| loss * f32::NAN, |loss| (loss.clone() - loss).sqrt()];
        for (count, spoil) in broken.into_iter().enumerate() {
            let loss = spoil(loss(trainer.model(), input.clone()));
            trainer.accumulate(loss, 1.0);
            let report = trainer.update();
            assert!(!report.gradient_norm.is_finite());
            assert_eq!(report.position.skipped_in_a_row, count + 1);
        }
        for trainer in [&mut trainer, &mut undisturbed] {
            let loss = loss(trainer.model(), input.clone());
            trainer.accumulate(loss, 1.0);
            trainer.update();
        }
        let position = Position {
            step: 3,
            skipped: 2,
            skipped_in_a_row: 0,
        };
        assert_eq!(trainer.position, position);
        let weights = |trainer: &Trainer<Linear>| values(trainer.model().weight.val());
        assert_eq!(weights(&trainer), weights(&undisturbed));
    }
}
