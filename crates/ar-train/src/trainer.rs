//! One optimisation step: backward pass, clipping by the global norm, AdamW, averaging.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;

use crate::config::OptimizerConfig;

/// A network in training, with its optimizer state and the average of its weights.
pub struct Trainer<M> {
    /// The raw weights, on an autodiff device.
    pub model: M,
    /// The exponential moving average of the weights, without autodiff.
    pub ema: M,
    /// The optimizer's state.
    pub optimizer: ModuleOptimizer,
    /// Steps done.
    pub step: usize,
    config: OptimizerConfig,
    steps: usize,
}

/// What one step did.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Learning rate used.
    pub learning_rate: f64,
    /// Norm of the gradient over all trained parameters, before clipping.
    pub gradient_norm: f64,
}

impl<M: Module> Trainer<M> {
    /// A trainer for a run of `steps` steps.
    pub fn new(model: M, config: &OptimizerConfig, steps: usize) -> Self {
        Self {
            ema: model.valid(),
            model,
            optimizer: AdamWConfig::new()
                .with_beta_1(config.beta_1)
                .with_beta_2(config.beta_2)
                .with_epsilon(config.epsilon)
                .with_weight_decay(config.weight_decay)
                .init(),
            step: 0,
            config: config.clone(),
            steps,
        }
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.step >= self.steps
    }

    /// Takes one step down the gradient of `loss`.
    ///
    /// # Shapes
    /// - `loss`: `[1]`
    pub fn update(&mut self, loss: Tensor<1>) -> StepReport {
        let mut gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        let gradient_norm = clip_global_norm(&self.model, &mut gradients, self.config.clip_norm);
        let learning_rate = self.config.learning_rate_at(self.step, self.steps);
        self.model = self
            .optimizer
            .step(learning_rate, self.model.clone(), gradients);
        self.step += 1;
        let n = self.step as f64;
        let decay = self.config.ema_decay.min((1.0 + n) / (10.0 + n));
        self.ema = average(self.ema.clone(), &self.model, decay);
        StepReport {
            learning_rate,
            gradient_norm,
        }
    }
}

/// Scales all gradients so that their joint norm is at most `largest` (0: no limit), and returns
/// the norm before. Burn's own clipping works tensor by tensor.
fn clip_global_norm<M: Module>(model: &M, gradients: &mut GradientsParams, largest: f64) -> f64 {
    struct SquareSum<'a> {
        gradients: &'a GradientsParams,
        sum: Option<Tensor<1>>,
    }
    impl ModuleVisitor for SquareSum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                let square = gradient.square().sum();
                self.sum = Some(match self.sum.take() {
                    Some(sum) => sum + square,
                    None => square,
                });
            }
        }
    }
    struct Scale<'a> {
        gradients: &'a mut GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients
                    .register(param.id, gradient.mul_scalar(self.factor));
            }
        }
    }
    let mut squares = SquareSum {
        gradients,
        sum: None,
    };
    model.visit(&mut squares);
    let norm = squares
        .sum
        .map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()).sqrt());
    if largest > 0.0 && norm > largest {
        let factor = largest / norm;
        model.visit(&mut Scale { gradients, factor });
    }
    norm
}

/// `decay * average + (1 - decay) * model`, parameter by parameter.
fn average<M: Module>(average: M, model: &M, decay: f64) -> M {
    // A container of tensors by parameter, which is what gradients are kept in.
    struct Collect(GradientsParams);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.register(param.id, param.val().inner());
        }
    }
    struct Mix {
        weights: GradientsParams,
        decay: f64,
    }
    impl ModuleMapper for Mix {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let weights = self
                .weights
                .remove::<D>(param.id)
                .expect("average and model have the same parameters");
            param.map(|mean| {
                let step = (weights - mean.clone()).mul_scalar(1.0 - self.decay);
                mean + step
            })
        }
    }
    let mut weights = Collect(GradientsParams::new());
    model.visit(&mut weights);
    average.map(&mut Mix {
        weights: weights.0,
        decay,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }

    fn line() -> (Linear, Tensor<1>) {
        let device = Device::flex().autodiff();
        let model = LinearConfig::new(2, 1).init(&device);
        // d loss / d weight = [3, 0], d loss / d bias = 4: a joint norm of 5.
        let input = Tensor::<2>::from_floats([[0.75, 0.0]], &device);
        let loss = (model.forward(input) * 4.0).sum();
        (model, loss)
    }

    #[test]
    fn clipping_is_by_the_joint_norm() {
        let (model, loss) = line();
        let mut gradients = GradientsParams::from_grads(loss.backward(), &model);
        let norm = clip_global_norm(&model, &mut gradients, 1.0);
        assert!((norm - 5.0).abs() < 1e-6, "{norm}");
        let weight = values(gradients.get::<2>(model.weight.id).expect("a gradient"));
        let bias = model.bias.as_ref().expect("a bias").id;
        let bias = values(gradients.get::<1>(bias).expect("a gradient"));
        assert!(
            (weight[0] - 0.6).abs() < 1e-6 && weight[1] == 0.0,
            "{weight:?}"
        );
        assert!((bias[0] - 0.8).abs() < 1e-6, "{bias:?}");
    }

    #[test]
    fn the_average_follows_the_weights() {
        let (model, loss) = line();
        let before = values(model.weight.val());
        let config = OptimizerConfig {
            learning_rate: 0.1,
            weight_decay: 0.0,
            ..OptimizerConfig::default()
        };
        let mut trainer = Trainer::new(model, &config, 10);
        trainer.update(loss);
        let after = values(trainer.model.weight.val());
        // Adam's first step is the learning rate against the sign of the gradient.
        assert!((after[0] - (before[0] - 0.1)).abs() < 1e-6);
        // Decay (1 + 1) / (10 + 1).
        let expected = before[0] + (after[0] - before[0]) * (1.0 - 2.0 / 11.0);
        assert!((values(trainer.ema.weight.val())[0] - expected).abs() < 1e-6);
    }
}
