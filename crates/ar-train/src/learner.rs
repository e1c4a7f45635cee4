//! A network and its optimizer: gradients are collected, then one AdamW step is taken.

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{Gradients, Tensor};

use crate::config::OptimizerConfig;
use crate::gradients::clip_global_norm;

/// A network with the state of its optimizer.
pub struct Learner<M> {
    /// The weights, on an autodiff device.
    pub model: M,
    /// The optimizer's state.
    pub optimizer: ModuleOptimizer,
    gradients: GradientsAccumulator<M>,
    clip_norm: f64,
    losses_are_finite: bool,
}

/// What one update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Norm of the gradient over all trained parameters, before clipping.
    pub gradient_norm: f64,
    /// Whether the weights stayed as they were, because a loss or the gradient was not finite.
    pub skipped: bool,
}

impl<M: Module> Learner<M> {
    /// A learner at the start of its training.
    pub fn new(model: M, config: &OptimizerConfig) -> Self {
        Self {
            model,
            optimizer: AdamWConfig::new()
                .with_beta_1(config.beta_1)
                .with_beta_2(config.beta_2)
                .with_epsilon(config.epsilon)
                .with_weight_decay(config.weight_decay)
                .init(),
            gradients: GradientsAccumulator::new(),
            clip_norm: config.clip_norm,
            losses_are_finite: true,
        }
    }

    /// Adds `share` of the gradient of `loss` to the gradient of the next update, and returns the
    /// loss.
    ///
    /// # Shapes
    /// - `loss`: `[1]`
    pub fn accumulate(&mut self, loss: Tensor<1>, share: f64) -> f64 {
        self.accumulate_parts(|_, collect| {
            collect((loss.clone() * share).backward());
            loss
        })
    }

    /// Adds gradients to that of the next update that come in several parts: `backward` hands them
    /// on one by one, and returns the loss.
    ///
    /// # Shapes
    /// - loss: `[1]`
    pub fn accumulate_parts(
        &mut self,
        backward: impl FnOnce(&M, &mut dyn FnMut(Gradients)) -> Tensor<1>,
    ) -> f64 {
        let loss = backward(&self.model, &mut |gradients| {
            let gradients = GradientsParams::from_grads(gradients, &self.model);
            self.gradients.accumulate(&self.model, gradients);
        });
        let loss = f64::from(loss.into_scalar::<f32>());
        self.losses_are_finite &= loss.is_finite();
        loss
    }

    /// Takes one step down the accumulated gradient, clipped; none if that is not finite.
    pub fn update(&mut self, learning_rate: f64) -> Update {
        let mut gradients = self.gradients.grads();
        let gradient_norm = clip_global_norm(&self.model, &mut gradients, self.clip_norm);
        let is_finite = gradient_norm.is_finite() && self.losses_are_finite;
        self.losses_are_finite = true;
        if is_finite {
            let model = self.model.clone();
            self.model = self.optimizer.step(learning_rate, model, gradients);
        }
        Update {
            gradient_norm,
            skipped: !is_finite,
        }
    }
}
