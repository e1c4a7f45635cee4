//! The adversarial half of the image stage: the discriminator's hinge loss, and its weight against
//! the reconstruction loss.

use std::fs;
use std::path::Path;

use ar_vae::Vae;
use ar_weights::exploded;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Tensor, activation::relu};
use serde::{Deserialize, Serialize};

use super::discriminator::PatchGan;
use crate::checkpoint::read_toml;
use crate::config::DiscriminatorConfig;
use crate::error::BoxError;
use crate::learner::{Learner, Update};
use crate::workers::Workers;

/// Keeps the adaptive weight finite where the discriminator's gradient vanishes.
const WEIGHT_EPSILON: f64 = 1e-4;
/// The largest adaptive weight.
const LARGEST_WEIGHT: f64 = 1e4;

/// The discriminator in training.
pub struct Adversary {
    learner: Learner<PatchGan>,
    config: DiscriminatorConfig,
    steps: usize,
    skipped: SkippedSteps,
}

/// What trains in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The VAE, without an adversarial loss.
    VaeAlone,
    /// The VAE against the discriminator, which does not change.
    Vae,
    /// The discriminator; the VAE does not change.
    Discriminator,
    /// The VAE and the discriminator.
    Both,
}

/// Steps that did not change the discriminator, because its loss or gradient was not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedSteps {
    /// All skipped steps.
    pub total: usize,
    /// How many of the most recent steps in a row.
    pub in_a_row: usize,
}

/// A reconstruction loss and the adversarial loss, weighted against each other.
pub struct Balance {
    /// A tensor, `[1]`, whose gradient with respect to the VAE is the gradient of
    /// `reconstruction + weight * adversarial`; its value is meaningless.
    pub surrogate: Tensor<1>,
    /// The reconstruction loss.
    pub reconstruction: f64,
    /// Minus the discriminator's mean output on the reconstruction.
    pub adversarial: f64,
    /// The adaptive weight times the configured one.
    pub weight: f64,
}

impl Adversary {
    /// A freshly initialised discriminator for a run of `steps` steps, on the main device of
    /// `workers`.
    pub fn new(config: &DiscriminatorConfig, steps: usize, workers: &Workers) -> Self {
        let network = PatchGan::new(config, workers.main_device());
        Self::of(network, config, steps, workers)
    }

    /// `network` as the discriminator of such a run.
    pub fn of(
        network: PatchGan,
        config: &DiscriminatorConfig,
        steps: usize,
        workers: &Workers,
    ) -> Self {
        // Clones of a network share parameters that are not initialised yet, so a clone without
        // gradients would disable them in all.
        network.visit(&mut DrawAll);
        Self {
            learner: Learner::new(network, &config.optimizer).with_workers(workers),
            config: config.clone(),
            steps,
            skipped: SkippedSteps::default(),
        }
    }

    /// What trains in `step`, counted from 0.
    pub fn turn(&self, step: usize) -> Turn {
        if step < self.config.start_step {
            Turn::VaeAlone
        } else if !self.config.turns {
            Turn::Both
        } else if step.is_multiple_of(2) {
            Turn::Vae
        } else {
            Turn::Discriminator
        }
    }

    /// Weights the adversarial loss so that its gradient at the decoder's last layer is as large as
    /// the gradient of the reconstruction loss (Esser et al., "Taming Transformers", eq. 7).
    ///
    /// Each loss is differentiated once, down to the pixels. From there on, gradients are linear in
    /// the gradients at the pixels, so neither loss needs a second graph.
    ///
    /// # Shapes
    /// - `features`: the input of `vae`'s last layer
    /// - `output`: the output of that layer, `[batch, frames, 3, height, width]`
    /// - `reconstruction`: from pixels like `output` to a loss, `[1]`
    pub fn balance(
        &self,
        vae: &Vae,
        features: Tensor<4>,
        output: Tensor<5>,
        reconstruction: impl FnOnce(Tensor<5>) -> Tensor<1>,
    ) -> Balance {
        // The discriminator's own parameters get no gradient from this.
        let discriminator = self.learner.model.clone().no_grad();
        let judge = |pixels: Tensor<5>| -discriminator.forward(pixels.flatten(0, 1)).mean();
        let (reconstruction, of_reconstruction) = at_pixels(&output, reconstruction);
        let (adversarial, of_adversarial) = at_pixels(&output, judge);
        let at_last_layer = |gradient| last_layer_norm(vae, features.clone(), gradient);
        let adaptive = at_last_layer(of_reconstruction.clone())
            / (at_last_layer(of_adversarial.clone()) + WEIGHT_EPSILON);
        let weight = self.config.weight * adaptive.clamp(0.0, LARGEST_WEIGHT);
        let gradient = of_reconstruction + of_adversarial * weight;
        Balance {
            surrogate: (output * gradient).sum(),
            reconstruction,
            adversarial,
            weight,
        }
    }

    /// Adds `share` of the gradient of the hinge loss to the discriminator's next step, and returns
    /// the loss.
    ///
    /// # Shapes
    /// - `real`, `fake`: `[batch, frames, 3, height, width]`
    pub fn accumulate(&mut self, real: Tensor<5>, fake: Tensor<5>, share: f64) -> f64 {
        let judge = |pixels: Tensor<5>| self.learner.model.forward(pixels.detach().flatten(0, 1));
        let loss = hinge(judge(real), judge(fake));
        self.learner.accumulate(loss, share)
    }

    /// Takes the discriminator's step number `step`, counted from the start of the run.
    pub fn update(&mut self, step: usize) -> Update {
        let start = self.config.start_step;
        let steps = self.steps.saturating_sub(start);
        let optimizer = &self.config.optimizer;
        let update = self
            .learner
            .update(optimizer.learning_rate_at(step - start, steps));
        if update.skipped {
            self.skipped.total += 1;
            self.skipped.in_a_row += 1;
        } else {
            self.skipped.in_a_row = 0;
        }
        update
    }

    /// The discriminator.
    #[cfg(test)]
    pub(super) fn network(&self) -> &PatchGan {
        &self.learner.model
    }

    /// Steps in a row that may be skipped.
    pub fn max_skipped(&self) -> usize {
        self.config.optimizer.max_skipped
    }

    /// Steps that were skipped so far.
    pub fn skipped(&self) -> SkippedSteps {
        self.skipped
    }

    /// Writes the discriminator's state into a separate folder inside the folder of a checkpoint.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), BoxError> {
        let folder = folder.as_ref().join(FOLDER);
        fs::create_dir(&folder)?;
        self.learner.model.settle();
        fs::write(folder.join(SKIPPED), toml::to_string(&self.skipped)?)?;
        self.learner.save(&folder)
    }

    /// What is wrong with a parameter of the discriminator that has [exploded], if there is one.
    pub fn exploded(&self) -> Option<String> {
        exploded(&self.learner.model).map(|path| format!("{FOLDER}.{path}"))
    }

    /// Loads what [`Adversary::save`] wrote.
    ///
    /// # Errors
    /// If it cannot be read, or does not fit the network.
    pub fn load(&mut self, folder: impl AsRef<Path>) -> Result<(), BoxError> {
        let folder = folder.as_ref().join(FOLDER);
        let path = folder.join(SKIPPED);
        // Checkpoints of older versions have no counts.
        if path.exists() {
            self.skipped = read_toml(&path)?;
        }
        self.learner.load(&folder)
    }
}

const FOLDER: &str = "discriminator";
const SKIPPED: &str = "skipped.toml";

/// Visits all parameters, because they are initialised at first access.
struct DrawAll;

impl ModuleVisitor for DrawAll {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        param.val();
    }
}

/// `(mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2`
fn hinge(real: Tensor<4>, fake: Tensor<4>) -> Tensor<1> {
    (relu(-real + 1.0).mean() + relu(fake + 1.0).mean()) * 0.5
}

/// The loss of `output`, and its gradient with respect to `output`.
fn at_pixels(output: &Tensor<5>, loss: impl FnOnce(Tensor<5>) -> Tensor<1>) -> (f64, Tensor<5>) {
    let pixels = output.clone().detach().require_grad();
    let loss = loss(pixels.clone());
    let value = f64::from(loss.clone().into_scalar::<f32>());
    let gradient = pixels.grad(&loss.backward());
    let gradient = gradient.expect("the loss depends on the pixels");
    (value, Tensor::from_inner(gradient))
}

/// The norm of the gradient of the last layer's weights, from the gradient at the pixels.
fn last_layer_norm(vae: &Vae, features: Tensor<4>, gradient: Tensor<5>) -> f64 {
    let [batch, frames, ..] = gradient.dims();
    let output = vae.to_pixels(features.detach(), [batch, frames]);
    let gradients = (output * gradient).sum().backward();
    let weights = vae.last_layer().weight.val();
    let gradient = weights.grad(&gradients).expect("the last layer trains");
    let gradient = gradient.cast(FloatDType::F32);
    f64::from(gradient.square().sum().into_scalar::<f32>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vae::testing::{pixels, small_conv, small_transformer};
    use ar_activation_checkpointing::ActivationCheckpointing;
    use ar_vae::VaeConfig;
    use burn::optim::GradientsParams;
    use burn::tensor::Device;

    /// All gradients, concatenated.
    struct Values<'a>(&'a GradientsParams, Vec<f32>);

    impl ModuleVisitor for Values<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.extend(gradient.into_data().iter::<f32>());
            }
        }
    }

    fn gradient(loss: Tensor<1>, vae: &Vae) -> Vec<f32> {
        let gradients = GradientsParams::from_grads(loss.backward(), vae);
        let mut values = Values(&gradients, Vec::new());
        vae.visit(&mut values);
        values.1
    }

    /// The same from whole graphs: one backward pass for each loss, and one for their sum.
    fn check(vae: VaeConfig) {
        let device = Device::flex().autodiff();
        let config = DiscriminatorConfig {
            filters: 4,
            layers: 1,
            weight: 0.7,
            ..DiscriminatorConfig::default()
        };
        let adversary = Adversary::new(&config, 10, &Workers::alone(device.clone()));
        let vae = vae.init(&device).expect("a network");
        let target = pixels([2, 1], 16, &device);
        let reconstruction = |output: Tensor<5>| (output - target.clone()).abs().mean();
        let run = || {
            let latents = vae.encode(target.clone()).mean();
            let features = vae.decode_features(&mut ActivationCheckpointing::new(false), latents);
            (features.clone(), vae.to_pixels(features, [2, 1]))
        };
        let adversarial =
            |output: Tensor<5>| -adversary.learner.model.forward(output.flatten(0, 1)).mean();

        let at_last_layer = |loss: Tensor<1>| {
            let gradients = loss.backward();
            let gradient = vae.last_layer().weight.val().grad(&gradients);
            let square = gradient.expect("a gradient").square().sum();
            f64::from(square.into_scalar::<f32>()).sqrt()
        };
        let weight = 0.7 * at_last_layer(reconstruction(run().1))
            / (at_last_layer(adversarial(run().1)) + 1e-4);
        let output = run().1;
        let expected = gradient(
            reconstruction(output.clone()) + adversarial(output) * weight,
            &vae,
        );

        let (features, output) = run();
        let balance = adversary.balance(&vae, features, output, reconstruction);
        let error = (balance.weight / weight - 1.0).abs();
        assert!(error < 1e-4, "{} and {weight}", balance.weight);
        let actual = gradient(balance.surrogate, &vae);
        assert_eq!(actual.len(), expected.len());
        let scale = expected.iter().map(|v| v * v).sum::<f32>().sqrt();
        let error = actual.iter().zip(&expected).map(|(a, b)| (a - b).powi(2));
        let error = error.sum::<f32>().sqrt();
        assert!(scale > 0.0 && error / scale < 1e-4, "{error} of {scale}");
    }

    #[test]
    fn the_balance_has_the_gradient_of_the_weighted_sum() {
        check(small_conv());
        check(small_transformer(false));
    }

    #[test]
    fn the_hinge_counts_what_is_on_the_wrong_side() {
        let device = Device::flex();
        let real = Tensor::<1>::from_floats([2.0, 0.5], &device).reshape([1, 1, 1, 2]);
        let fake = Tensor::<1>::from_floats([-3.0, 1.0], &device).reshape([1, 1, 1, 2]);
        // (0 + 0.5) / 2 for the real ones, (0 + 2) / 2 for the others.
        let loss: f32 = hinge(real, fake).into_scalar();
        assert!((loss - (0.25 + 1.0) / 2.0).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn steps_that_are_not_finite_are_counted_and_kept() {
        let device = Device::flex().autodiff();
        let config = DiscriminatorConfig {
            start_step: 0,
            filters: 4,
            layers: 1,
            ..DiscriminatorConfig::default()
        };
        let mut adversary = Adversary::new(&config, 100, &Workers::alone(device.clone()));
        let real = pixels([2, 1], 16, &device);
        for (step, factor) in [1.0, f32::NAN, f32::NAN, 1.0, f32::NAN]
            .into_iter()
            .enumerate()
        {
            adversary.accumulate(real.clone(), real.clone() * factor, 1.0);
            assert_eq!(adversary.update(step).skipped, factor.is_nan());
        }
        let expected = SkippedSteps {
            total: 3,
            in_a_row: 1,
        };
        assert_eq!(adversary.skipped(), expected);

        let folder = tempfile::tempdir().expect("a folder");
        adversary.save(folder.path()).expect("saved");
        let mut resumed = Adversary::new(&config, 100, &Workers::alone(device.clone()));
        resumed.load(folder.path()).expect("loaded");
        assert_eq!(resumed.skipped(), expected);
    }

    #[test]
    fn the_discriminator_learns_to_tell() {
        let device = Device::flex().autodiff();
        let mut config = DiscriminatorConfig {
            start_step: 3,
            filters: 4,
            layers: 1,
            ..DiscriminatorConfig::default()
        };
        config.optimizer.learning_rate = 1e-2;
        let mut adversary = Adversary::new(&config, 100, &Workers::alone(device.clone()));
        assert_eq!(
            [2, 3].map(|step| adversary.turn(step)),
            [Turn::VaeAlone, Turn::Both]
        );
        let real = pixels([4, 1], 16, &device);
        let fake = pixels([4, 1], 16, &device) * 0.5;
        let vae = small_conv().init(&device).expect("a network");
        let latents = vae.encode(real.clone()).mean();
        let features = vae.decode_features(&mut ActivationCheckpointing::new(false), latents);
        let output = vae.to_pixels(features.clone(), [4, 1]);
        adversary.balance(&vae, features, output, |output| output.mean());
        let mut losses = Vec::new();
        for step in 3..33 {
            losses.push(adversary.accumulate(real.clone(), fake.clone(), 1.0));
            assert!(!adversary.update(step).skipped);
        }
        // A network that outputs 0 for everything has a loss of 1.
        assert!((losses[0] - 1.0).abs() < 0.3, "{losses:?}");
        assert!(losses[29] < 0.2, "{losses:?}");
    }
}
