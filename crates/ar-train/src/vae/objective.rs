//! The objective of a VAE stage.

use ar_activation_checkpointing::ActivationCheckpointing;
use ar_noise::{FrameNoise, NoiseStream};
use ar_vae::{Posterior, Vae};
use burn::tensor::{Device, Tensor, TensorData};

use super::perceptual::Perceptual;
use crate::config::VaeLossConfig;
use crate::error::ConfigError;

/// Addresses the random numbers of a part of a step; every clip of the step has its own.
#[derive(Clone, Copy, Debug)]
pub struct PosteriorNoise {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the step.
    pub step: u64,
    /// Position of the part's first clip in the step.
    pub first_clip: usize,
}

impl PosteriorNoise {
    /// The address of the part that starts `clips` clips later.
    pub fn from_clip(self, clips: usize) -> Self {
        Self {
            first_clip: self.first_clip + clips,
            ..self
        }
    }

    /// # Shapes
    /// - output: `[batch, frames, tokens, channels]`
    fn sample(self, posterior: &Posterior) -> Tensor<4> {
        let mean = posterior.mean();
        let shape = mean.shape();
        let [batch, frames, tokens, channels] = mean.dims();
        let noise = FrameNoise::new(self.seed);
        let noise: Vec<f32> = (self.first_clip..self.first_clip + batch)
            .flat_map(|clip| {
                // The step takes the place of the frame: one draw covers the whole clip.
                let len = frames * tokens * channels;
                noise.frame(clip as u64, self.step, NoiseStream::Training, len)
            })
            .collect();
        posterior.sample(Tensor::from_data(
            TensorData::new(noise, shape),
            &mean.device(),
        ))
    }
}

/// Frames that were encoded and decoded by a VAE.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// The output of the encoder.
    pub posterior: Posterior,
    /// The input of the decoder's last layer.
    pub features: Tensor<4>,
    /// The output of that layer, `[batch, frames, 3, height, width]`.
    pub output: Tensor<5>,
}

/// The loss of a VAE stage without its adversarial part: reconstruction and divergence.
#[derive(Debug)]
pub struct VaeObjective<'a> {
    /// The weights of the parts of the loss.
    pub config: &'a VaeLossConfig,
    /// LPIPS, if it has any weight.
    pub perceptual: Option<Perceptual>,
}

impl<'a> VaeObjective<'a> {
    /// The objective of `config`, with the networks that it names on `device`.
    ///
    /// # Errors
    /// If weights of a network cannot be read, or belong to another network.
    pub fn load(config: &'a VaeLossConfig, device: &Device) -> Result<Self, ConfigError> {
        Ok(Self {
            config,
            perceptual: Perceptual::load(config, device)?,
        })
    }

    /// The same with its networks on another device.
    pub fn on(&self, device: &Device) -> Self {
        self.with(|perceptual| perceptual.on(device))
    }

    /// The same without autodiff.
    pub fn valid(&self) -> Self {
        self.with(Perceptual::valid)
    }

    fn with(&self, change: impl FnOnce(&Perceptual) -> Perceptual) -> Self {
        Self {
            config: self.config,
            perceptual: self.perceptual.as_ref().map(change),
        }
    }

    /// Encodes `pixels`, samples their posterior with `noise` if configured, and decodes, for a
    /// backward pass by [`ActivationCheckpointing::backward`].
    ///
    /// # Shapes
    /// - `pixels`: `[batch, frames, 3, height, width]`
    pub fn reconstruct(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        vae: &Vae,
        pixels: Tensor<5>,
        noise: PosteriorNoise,
    ) -> Reconstruction {
        let [batch, frames, ..] = pixels.dims();
        let posterior = vae.encode_checkpointed(checkpointing, pixels);
        let latents = if self.config.sample_posterior {
            noise.sample(&posterior)
        } else {
            posterior.mean()
        };
        let features = vae.decode_features(checkpointing, latents);
        Reconstruction {
            posterior,
            features: features.clone(),
            output: vae.to_pixels(features, [batch, frames]),
        }
    }

    /// The weighted divergence of a posterior, if it has any weight.
    ///
    /// # Shapes
    /// - output: `[1]`
    pub fn divergence(&self, posterior: &Posterior) -> Option<Tensor<1>> {
        let weight = self.config.kl;
        (weight > 0.0).then(|| posterior.kl().mean() * weight)
    }

    /// The reconstruction loss: weighted absolute and squared error, and LPIPS if it has any
    /// weight.
    ///
    /// # Shapes
    /// - `output`, `pixels`: `[batch, frames, 3, height, width]`
    /// - output: `[1]`
    pub fn pixel_loss(&self, output: Tensor<5>, pixels: Tensor<5>) -> Tensor<1> {
        let config = self.config;
        let perceptual = self.perceptual.as_ref();
        let distance = perceptual.map(|lpips| lpips.loss(output.clone(), pixels.clone()));
        let difference = output - pixels.clone();
        let weights =
            (config.foreground > 0.0).then(|| foreground_weights(pixels, config.foreground));
        let weighted = |error: Tensor<5>| match &weights {
            Some(weights) => (error * weights.clone()).mean(),
            None => error.mean(),
        };
        let mut loss = weighted(difference.clone().abs()) * config.l1;
        if config.l2 > 0.0 {
            loss = loss + weighted(difference.square()) * config.l2;
        }
        match distance {
            Some(distance) => loss + distance,
            None => loss,
        }
    }

    /// Reconstruction loss plus divergence.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, frames, 3, height, width]`
    /// - output: `[1]`
    pub fn loss(&self, vae: &Vae, pixels: Tensor<5>, noise: PosteriorNoise) -> Tensor<1> {
        let mut checkpointing = ActivationCheckpointing::new(false);
        self.loss_checkpointed(&mut checkpointing, vae, pixels, noise)
    }

    /// [`VaeObjective::loss`] for a backward pass by [`ActivationCheckpointing::backward`].
    ///
    /// # Shapes
    /// As [`VaeObjective::loss`].
    pub fn loss_checkpointed(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        vae: &Vae,
        pixels: Tensor<5>,
        noise: PosteriorNoise,
    ) -> Tensor<1> {
        let reconstruction = self.reconstruct(checkpointing, vae, pixels.clone(), noise);
        let divergence = self.divergence(&reconstruction.posterior);
        let loss = self.pixel_loss(reconstruction.output, pixels);
        match divergence {
            Some(divergence) => loss + divergence,
            None => loss,
        }
    }
}

/// `1 + foreground * |pixel - median colour of the frame|` (largest channel), normalised to a mean
/// of 1 over the batch.
///
/// # Shapes
/// - `pixels`: `[batch, frames, 3, height, width]`
/// - output: `[batch, frames, 1, height, width]`
fn foreground_weights(pixels: Tensor<5>, foreground: f64) -> Tensor<5> {
    let [batch, frames, channels, height, width] = pixels.dims();
    let flat: Tensor<4> = pixels.clone().flatten(3, 4);
    let (sorted, _) = flat.sort_with_indices(3);
    let median = sorted
        .narrow(3, height * width / 2, 1)
        .reshape([batch, frames, channels, 1, 1]);
    let distance = (pixels - median).abs().max_dim(2);
    let weights = distance * foreground + 1.0;
    let mean = weights.clone().mean().reshape([1, 1, 1, 1, 1]);
    weights / mean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vae::testing::{pixels, small_conv};

    #[test]
    fn every_clip_of_a_step_draws_its_own_noise_in_whatever_part_it_is() {
        let device = Device::flex();
        let vae = small_conv().init(&device).expect("a network");
        let noise = PosteriorNoise {
            seed: 5,
            step: 2,
            first_clip: 0,
        };
        // The same clip three times, so that samples differ only in their noise.
        let clip = pixels([1, 2], 16, &device);
        let sample = |noise: PosteriorNoise, clips: usize| -> Vec<f32> {
            let posterior = vae.encode(clip.clone().repeat_dim(0, clips));
            let sample = noise.sample(&posterior);
            sample.into_data().iter::<f32>().collect()
        };
        let whole = sample(noise, 3);
        let len = whole.len() / 3;
        for (place, expected) in whole.chunks(len).enumerate() {
            let part = sample(noise.from_clip(place), 1);
            let difference = |other: &[f32]| {
                let differences = part.iter().zip(other).map(|(a, b)| (a - b).abs());
                differences.fold(0.0, f32::max)
            };
            assert!(difference(expected) < 1e-5, "{}", difference(expected));
            let others = whole.chunks(len).filter(|other| other != &expected);
            assert_eq!(others.clone().count(), 2);
            for other in others {
                assert!(difference(other) > 1e-3, "{}", difference(other));
            }
        }
    }

    #[test]
    fn the_foreground_weighs_more() {
        // Three background pixels and one that differs by 0.5 in one channel.
        let pixels = Tensor::<1>::from_floats(
            [0.2, 0.2, 0.2, 0.7, 0.1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0],
            &Device::flex(),
        )
        .reshape([1, 1, 3, 2, 2]);
        let weights: Vec<f32> = foreground_weights(pixels, 4.0)
            .into_data()
            .iter::<f32>()
            .collect();
        // 1, 1, 1, 3 with a mean of 1.5.
        for (actual, expected) in weights.iter().zip([1.0, 1.0, 1.0, 3.0]) {
            assert!((actual - expected / 1.5).abs() < 1e-6, "{weights:?}");
        }
    }
}
