//! A network and its optimizer: gradients are collected, then one AdamW step is taken.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::{FloatDType, Gradients, Tensor};

use crate::config::{ComputePrecision, OptimizerConfig};
use crate::gradients::{clip_global_norm, widen};

/// A network with the state of its optimizer.
pub struct Learner<M> {
    /// The weights, on an autodiff device.
    pub model: M,
    /// The optimizer's state.
    pub optimizer: ModuleOptimizer,
    gradients: GradientsAccumulator<M>,
    clip_norm: f64,
    losses_are_finite: bool,
    precision: ComputePrecision,
}

/// Copies parameters in other floats; the copies have the same identities, and gradients of their
/// own.
struct Narrow(FloatDType);

impl ModuleMapper for Narrow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weights| {
            let trains = weights.is_require_grad();
            Tensor::from_inner(weights.inner().cast(self.0)).set_require_grad(trains)
        })
    }
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
            precision: ComputePrecision::F32,
        }
    }

    /// Computes in `precision` from now on, where gradients come from
    /// [`Learner::accumulate_parts`]; weights and optimizer stay 32-bit floats.
    pub fn with_precision(mut self, precision: ComputePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// Adds `share` of the gradient of `loss`, computed with [`Learner::model`], to the gradient of
    /// the next update, and returns the loss.
    ///
    /// # Shapes
    /// - `loss`: `[1]`
    pub fn accumulate(&mut self, loss: Tensor<1>, share: f64) -> f64 {
        let gradients = (loss.clone() * share).backward();
        let gradients = GradientsParams::from_grads(gradients, &self.model);
        self.gradients.accumulate(&self.model, gradients);
        self.note(loss)
    }

    /// Adds gradients to that of the next update that come in several parts: `backward` is given
    /// the network in the precision that it computes in, hands the gradients on one by one, and
    /// returns the loss.
    ///
    /// # Shapes
    /// - loss: `[1]`
    ///
    /// # Errors
    /// Those of `backward`.
    pub fn accumulate_parts<E>(
        &mut self,
        backward: impl FnOnce(&M, &mut dyn FnMut(Gradients)) -> Result<Tensor<1>, E>,
    ) -> Result<f64, E> {
        let network = match self.precision {
            ComputePrecision::F32 => self.model.clone(),
            ComputePrecision::Bf16 => self.model.clone().map(&mut Narrow(FloatDType::BF16)),
        };
        let loss = backward(&network, &mut |gradients| {
            let mut gradients = GradientsParams::from_grads(gradients, &network);
            widen(&network, &mut gradients);
            self.gradients.accumulate(&self.model, gradients);
        })?;
        Ok(self.note(loss))
    }

    fn note(&mut self, loss: Tensor<1>) -> f64 {
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
