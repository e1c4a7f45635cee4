//! The gradients of a step of a VAE stage.

use ar_activation_checkpointing::ActivationCheckpointing;
use ar_data::{VideoBatch, VideoItem};
use ar_vae::Vae;
use burn::module::Module;
use burn::tensor::{Gradients, Tensor};

use super::{Adversary, PosteriorNoise, Reconstruction, VaeObjective};
use crate::config::VaeRun;
use crate::error::Result;
use crate::learner::MicroBatch;
use crate::losses::Losses;
use crate::trainer::Trainer;

/// The clips of a step, and the objective.
#[derive(Clone, Copy)]
pub(super) struct StepClips<'a> {
    pub(super) config: &'a VaeRun,
    pub(super) objective: &'a VaeObjective<'a>,
    pub(super) items: &'a [VideoItem],
    /// The noise, starting at the first clip.
    pub(super) noise: PosteriorNoise,
}

impl StepClips<'_> {
    /// Adds the gradient of the loss to the VAE's next step, batch by batch.
    ///
    /// # Errors
    /// If the system has no thread left for a device.
    pub(super) fn accumulate(self, trainer: &mut Trainer<Vae>) -> Result<Losses> {
        let Self { config, items, .. } = self;
        let backward = |part: MicroBatch<'_, Vae>, collect: &mut dyn FnMut(Gradients)| {
            let noise = self.noise.from_clip(part.clips.start);
            let pixels = VideoBatch::new(&items[part.clips], part.device).pixels;
            let objective = self.objective.on(part.device);
            let mut checkpointing = ActivationCheckpointing::new(config.activation_checkpointing);
            let loss = objective.loss_checkpointed(&mut checkpointing, part.network, pixels, noise);
            let loss = loss * part.share;
            checkpointing.backward(&loss, collect);
            Ok(loss)
        };
        let learner = &mut trainer.learner;
        let loss = learner.accumulate_parts(items.len(), config.run.batch_size, backward)?;
        let mut losses = Losses::default();
        losses.add("loss", loss, 1.0);
        Ok(losses)
    }

    /// The same against a discriminator, which learns from the same clips if `both` train.
    pub(super) fn accumulate_against(
        self,
        adversary: &mut Adversary,
        trainer: &mut Trainer<Vae>,
        both: bool,
    ) -> Losses {
        let Self {
            config, objective, ..
        } = self;
        let mut losses = Losses::default();
        let batch_size = config.run.batch_size;
        for (part, batch) in self.items.chunks(batch_size).enumerate() {
            let share = batch.len() as f64 / self.items.len() as f64;
            let pixels = VideoBatch::new(batch, &trainer.model().devices()[0]).pixels;
            let noise = self.noise.from_clip(part * batch_size);
            trainer.learner.accumulate_pieces(|vae, collect| {
                let mut checkpointing =
                    ActivationCheckpointing::new(config.activation_checkpointing);
                let Reconstruction {
                    posterior,
                    features,
                    output,
                } = objective.reconstruct(&mut checkpointing, vae, pixels.clone(), noise);
                let divergence = objective.divergence(&posterior);
                let balance = adversary.balance(vae, features, output.clone(), |output| {
                    objective.pixel_loss(output, pixels.clone())
                });
                let mut loss = balance.reconstruction;
                let mut surrogate = balance.surrogate;
                if let Some(divergence) = divergence {
                    loss += f64::from(divergence.clone().into_scalar::<f32>());
                    surrogate = surrogate + divergence;
                }
                for (name, value) in [
                    ("loss", loss),
                    ("adversarial_loss", balance.adversarial),
                    ("adversarial_weight", balance.weight),
                ] {
                    losses.add(name, value, share);
                }
                if both {
                    let loss = adversary.accumulate(pixels, output, share);
                    losses.add("discriminator_loss", loss, share);
                }
                let surrogate = surrogate * share;
                checkpointing.backward(&surrogate, collect);
                surrogate
            });
        }
        losses
    }

    /// Adds the gradient of the discriminator's loss to its next step, batch by batch.
    pub(super) fn accumulate_discriminator(self, adversary: &mut Adversary, vae: &Vae) -> Losses {
        let mut losses = Losses::default();
        let batch_size = self.config.run.batch_size;
        let (device, vae) = (&vae.devices()[0], vae.valid());
        for (part, batch) in self.items.chunks(batch_size).enumerate() {
            let share = batch.len() as f64 / self.items.len() as f64;
            let pixels = VideoBatch::new(batch, device).pixels;
            let reconstruction = self.objective.reconstruct(
                &mut ActivationCheckpointing::new(false),
                &vae,
                pixels.clone().inner(),
                self.noise.from_clip(part * batch_size),
            );
            let output = Tensor::from_inner(reconstruction.output);
            let loss = adversary.accumulate(pixels, output, share);
            losses.add("discriminator_loss", loss, share);
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vae::discriminator::PatchGan;
    use ar_vae::VaeConfig;
    use burn::module::{ModuleVisitor, Param, ParamGroup};
    use burn::optim::{GradientsAccumulator, GradientsParams};
    use burn::tensor::{DType, Device, Tensor};

    use crate::config::{ComputePrecision, DiscriminatorConfig, VaeLossConfig};
    use crate::vae::testing::{items, pixels, small_conv, small_transformer};
    use crate::workers::Workers;

    const DRAW: PosteriorNoise = PosteriorNoise {
        seed: 3,
        step: 0,
        first_clip: 0,
    };

    /// All parts of the loss except LPIPS.
    fn config(vae: VaeConfig) -> VaeRun {
        VaeRun {
            loss: VaeLossConfig {
                l2: 0.5,
                kl: 1e-3,
                sample_posterior: true,
                foreground: 2.0,
                ..VaeLossConfig::default()
            },
            vae,
            ..VaeRun::default()
        }
    }

    /// The loss, and the gradients of all parameters that have one.
    fn gradients(vae: &Vae, pixels: &Tensor<5>, recompute: bool) -> (f32, Vec<f32>) {
        struct Values<'a>(&'a GradientsParams, Vec<f32>);
        impl ModuleVisitor for Values<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    self.1.extend(gradient.into_data().iter::<f32>());
                }
            }
        }
        let config = config(vae.config());
        let mut checkpointing = ActivationCheckpointing::new(recompute);
        let objective = VaeObjective {
            config: &config.loss,
            perceptual: None,
        };
        let loss = objective.loss_checkpointed(&mut checkpointing, vae, pixels.clone(), DRAW);
        let mut sum = GradientsAccumulator::new();
        checkpointing.backward(&loss, |gradients| {
            sum.accumulate(vae, GradientsParams::from_grads(gradients, vae));
        });
        let gradients = sum.grads();
        let mut values = Values(&gradients, Vec::new());
        vae.visit(&mut values);
        (loss.into_scalar(), values.1)
    }

    #[track_caller]
    fn check_gradients(vae: &Vae, frames: usize) {
        let pixels = pixels([2, frames], 16, &Device::flex().autodiff());
        let (kept_loss, kept) = gradients(vae, &pixels, false);
        let (loss, again) = gradients(vae, &pixels, true);
        assert!((loss / kept_loss - 1.0).abs() < 1e-6, "{loss} {kept_loss}");
        assert_eq!(kept.len(), again.len());
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
        let norm = square(&mut kept.iter().copied()).sqrt();
        let error = square(&mut kept.iter().zip(&again).map(|(a, b)| a - b)).sqrt();
        assert!(norm > 0.0 && error < 1e-5 * norm, "{error} of {norm}");
    }

    #[test]
    fn blocks_that_are_computed_again_have_the_same_gradients() {
        let device = Device::flex().autodiff();
        for config in [
            small_conv(),
            small_transformer(false),
            small_transformer(true),
        ] {
            let vae = config.init(&device).expect("a network");
            check_gradients(&vae, 2);
        }
        let vae = small_transformer(true).init(&device).expect("a network");
        let temporal = ParamGroup::from_predicate("temporal");
        check_gradients(&vae.no_grad().set_require_grad_group(temporal, true), 3);
    }

    fn small_discriminator() -> DiscriminatorConfig {
        DiscriminatorConfig {
            filters: 4,
            layers: 1,
            ..DiscriminatorConfig::default()
        }
    }

    /// The losses of a step with or without a discriminator, and the norm of its gradient.
    fn step(network: &Vae, config: &VaeRun, against: Option<&PatchGan>) -> Vec<f64> {
        let mut trainer =
            Trainer::new(network.clone(), &config.optimizer, 10).with_precision(config.precision);
        let objective = VaeObjective {
            config: &config.loss,
            perceptual: None,
        };
        let step = StepClips {
            config,
            objective: &objective,
            items: &items(3),
            noise: DRAW,
        };
        let losses = match against {
            Some(discriminator) => {
                let workers = Workers::alone(Device::flex().autodiff());
                let discriminator = discriminator.clone();
                let mut adversary =
                    Adversary::of(discriminator, &small_discriminator(), 10, &workers);
                step.accumulate_against(&mut adversary, &mut trainer, true)
            }
            None => step.accumulate(&mut trainer).expect("threads"),
        };
        let norm = trainer.update().gradient_norm;
        assert_eq!(network.last_layer().weight.val().dtype(), DType::F32);
        assert_eq!(trainer.ema.last_layer().weight.val().dtype(), DType::F32);
        let losses = losses.means().iter().map(|&(_, value)| value);
        losses.chain([norm]).collect()
    }

    /// The adversarial loss is a mean of values of both signs, each of about 0.1, so it may vanish
    /// by chance; its error does not.
    fn assert_near(value: f64, expected: f64, tolerance: f64) {
        let error = (value - expected).abs();
        let scale = expected.abs().max(0.01);
        assert!(error < tolerance * scale, "{value}, not {expected}");
    }

    #[test]
    fn steps_are_the_same_with_blocks_that_are_computed_again() {
        let device = Device::flex().autodiff();
        for vae in [small_conv(), small_transformer(false)] {
            let mut config = config(vae);
            config.run.batch_size = 2;
            let network = config.vae.init(&device).expect("a network");
            let discriminator = PatchGan::new(&small_discriminator(), &device);
            for against in [None, Some(&discriminator)] {
                let [kept, again] = [false, true].map(|activation_checkpointing| {
                    let config = VaeRun {
                        activation_checkpointing,
                        ..config.clone()
                    };
                    step(&network, &config, against)
                });
                assert_eq!(kept.len(), if against.is_some() { 5 } else { 2 });
                for (kept, again) in kept.iter().zip(again) {
                    assert_near(again, *kept, 1e-4);
                }
            }
        }
    }

    #[test]
    fn sixteen_bits_train_weights_of_thirty_two() {
        let device = Device::flex().autodiff();
        device.seed(9);
        for vae in [small_conv(), small_transformer(true)] {
            let config = config(vae);
            let network = config.vae.init(&device).expect("a network");
            let discriminator = PatchGan::new(&small_discriminator(), &device);
            let against = Some(&discriminator);
            for (activation_checkpointing, against) in
                [(false, None), (true, None), (true, against)]
            {
                let [full, half] =
                    [ComputePrecision::F32, ComputePrecision::Bf16].map(|precision| {
                        let config = VaeRun {
                            activation_checkpointing,
                            precision,
                            ..config.clone()
                        };
                        step(&network, &config, against)
                    });
                assert!(full != half, "{full:?}");
                // bf16 has 8 bits of precision; gradients of a freshly initialised network lose
                // some of them.
                for (place, (full, half)) in full.iter().zip(&half).enumerate() {
                    let tolerance = if place == 0 { 0.02 } else { 0.15 };
                    assert_near(*half, *full, tolerance);
                }
            }
        }
    }
}
