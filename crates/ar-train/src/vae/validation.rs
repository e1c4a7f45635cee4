//! The measurements of a VAE stage on validation clips.

use ar_data::{VideoBatch, VideoItem};
use ar_vae::Vae;
use burn::module::Module;

use super::{PosteriorNoise, VaeObjective};
use crate::trainer::VALIDATION_STEP;

impl VaeObjective<'_> {
    /// The mean [`VaeObjective::loss`] over the clips `items`, with the same samples of their posteriors every time. It
    /// is computed clip by clip, since `loss.foreground` looks at a batch as a whole. Everything is without autodiff,
    /// `vae` and the objective's networks included.
    pub fn validation_loss(&self, vae: &Vae, items: &[VideoItem], seed: u64) -> f64 {
        let device = &vae.devices()[0];
        let noise = PosteriorNoise {
            seed,
            step: VALIDATION_STEP,
            first_clip: 0,
        };
        let losses = items.iter().enumerate().map(|(place, item)| {
            let pixels = VideoBatch::new(std::slice::from_ref(item), device).pixels;
            let loss = self.loss(vae, pixels, noise.from_clip(place));
            f64::from(loss.into_scalar::<f32>())
        });
        losses.sum::<f64>() / items.len() as f64
    }
}

/// PSNR in dB of the reconstruction of `items`, from their mean squared error; `batch_size` of them are computed at a
/// time.
pub fn reconstruction_psnr(vae: &Vae, items: &[VideoItem], batch_size: usize) -> f64 {
    let device = &vae.devices()[0];
    let (mut error, mut count) = (0.0, 0);
    for items in items.chunks(batch_size) {
        let pixels = VideoBatch::new(items, device).pixels;
        let output = vae.decode(vae.encode(pixels.clone()).mean());
        let difference = output.clamp(0.0, 1.0) - pixels;
        count += difference.shape().num_elements();
        error += f64::from(difference.square().sum().into_scalar::<f32>());
    }
    -10.0 * (error / count as f64).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    use crate::config::{OptimizerConfig, VaeLossConfig};
    use crate::trainer::Trainer;
    use crate::vae::testing::{items, small_conv};

    fn objective(config: &VaeLossConfig) -> VaeObjective<'_> {
        VaeObjective {
            config,
            perceptual: None,
        }
    }

    #[test]
    fn it_is_the_mean_error_over_the_clips() {
        let device = Device::flex();
        device.seed(3);
        let vae = small_conv().init(&device).expect("a network");
        let items = items(5);
        let config = VaeLossConfig {
            l1: 0.5,
            l2: 2.0,
            ..VaeLossConfig::default()
        };
        let pixels = VideoBatch::new(&items, &device).pixels;
        let difference = vae.decode(vae.encode(pixels.clone()).mean()) - pixels;
        let difference: Vec<f32> = difference.into_data().iter::<f32>().collect();
        let error = |e: &f32| 0.5 * f64::from(e.abs()) + 2.0 * f64::from(e * e);
        let expected = difference.iter().map(error).sum::<f64>() / difference.len() as f64;
        let loss = objective(&config).validation_loss(&vae, &items, 0);
        // Sums of 3840 numbers in another order.
        assert!((loss / expected - 1.0).abs() < 1e-5, "{loss} {expected}");
    }

    #[test]
    fn every_clip_counts_by_itself_and_draws_the_same_each_time() {
        let device = Device::flex();
        let vae = small_conv().init(&device).expect("a network");
        let items = items(3);
        let config = VaeLossConfig {
            kl: 0.1,
            foreground: 3.0,
            ..VaeLossConfig::default()
        };
        let measure = |items: &[VideoItem]| objective(&config).validation_loss(&vae, items, 0);
        let single: f64 = items.chunks(1).map(measure).sum();
        let error = (measure(&items) / (single / 3.0) - 1.0).abs();
        assert!(error < 1e-9, "{error}");

        let config = VaeLossConfig {
            sample_posterior: true,
            ..config
        };
        let [once, again, other] =
            [0, 0, 1].map(|seed| objective(&config).validation_loss(&vae, &items, seed));
        assert_eq!(once, again);
        assert!(once != other, "{once}");
    }

    #[test]
    fn it_falls_while_the_average_learns() {
        let device = Device::flex().autodiff();
        device.seed(4);
        let vae = small_conv().init(&device).expect("a network");
        let optimizer = OptimizerConfig {
            learning_rate: 1e-2,
            ..OptimizerConfig::default()
        };
        let config = VaeLossConfig::default();
        let mut trainer = Trainer::new(vae, &optimizer, 100);
        let items = items(6);
        let (training, validation) = items.split_at(4);
        let objective = objective(&config);
        let measure =
            |trainer: &Trainer<Vae>| objective.validation_loss(&trainer.ema, validation, 0);
        let before = measure(&trainer);
        for step in 0..60 {
            let pixels = VideoBatch::new(training, &device).pixels;
            let noise = PosteriorNoise {
                seed: 0,
                step,
                first_clip: 0,
            };
            let loss = objective.loss(trainer.model(), pixels, noise);
            trainer.accumulate(loss, 1.0);
            trainer.update();
        }
        let after = measure(&trainer);
        assert!(after < 0.8 * before, "{before} {after}");
    }
}
