use ar_activation_checkpointing::ActivationCheckpointing;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::{ArVae, ArVaeConfig, ConvVae, ConvVaeConfig, Posterior, VaeConfigError};

/// A VAE of either kind. It computes in the precision of its weights; inputs and outputs are in f32.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a model, and modules hold their parts by value"
)]
#[non_exhaustive]
pub enum Vae {
    /// The AR-VAE of the paper.
    Transformer(ArVae),
    /// The small convolutional VAE.
    Conv(ConvVae),
}

/// The configuration of a [`Vae`]; the key `kind` chooses the kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VaeConfig {
    /// `kind = "transformer"`
    Transformer(ArVaeConfig),
    /// `kind = "conv"`
    Conv(ConvVaeConfig),
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self::Transformer(ArVaeConfig::default())
    }
}

impl VaeConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// Names the first key that does not fit.
    pub fn validate(&self) -> Result<(), VaeConfigError> {
        match self {
            Self::Transformer(config) => config.validate(),
            Self::Conv(config) => config.validate(),
        }
    }

    /// A freshly initialised VAE.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn init(&self, device: &Device) -> Result<Vae, VaeConfigError> {
        Ok(match self {
            Self::Transformer(config) => Vae::Transformer(config.init(device)?),
            Self::Conv(config) => Vae::Conv(config.init(device)?),
        })
    }

    /// Side of the square frames, in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Transformer(config) => config.image_size,
            Self::Conv(config) => config.image_size,
        }
    }

    /// Latents of a frame, `[tokens, channels]`.
    pub fn latents(&self) -> [usize; 2] {
        match self {
            Self::Transformer(config) => config.latents(),
            Self::Conv(config) => config.latents(),
        }
    }

    /// Whether decoding a frame reads the frames before it.
    pub fn is_temporal(&self) -> bool {
        match self {
            Self::Transformer(config) => config.temporal,
            Self::Conv(_) => false,
        }
    }
}

impl Vae {
    /// The configuration of the network.
    pub fn config(&self) -> VaeConfig {
        match self {
            Self::Transformer(vae) => VaeConfig::Transformer(vae.config().clone()),
            Self::Conv(vae) => VaeConfig::Conv(vae.config().clone()),
        }
    }

    /// The posterior over the latents of a video.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, frames, 3, height, width]` in `[0, 1]`
    pub fn encode(&self, pixels: Tensor<5>) -> Posterior {
        self.encode_checkpointed(&mut ActivationCheckpointing::new(false), pixels)
    }

    /// [`Vae::encode`] for a backward pass by [`ActivationCheckpointing::backward`].
    ///
    /// # Shapes
    /// As [`Vae::encode`].
    pub fn encode_checkpointed(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        pixels: Tensor<5>,
    ) -> Posterior {
        let pixels = pixels.cast(self.dtype());
        let posterior = match self {
            Self::Transformer(vae) => vae.encode_checkpointed(checkpointing, pixels),
            Self::Conv(vae) => vae.encode_checkpointed(checkpointing, pixels),
        };
        posterior.widened().shared(checkpointing)
    }

    /// Pixels from latents. Without autodiff, convolutions decode a few frames at a time, so memory does not grow with
    /// the number of frames.
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`
    /// - output: `[batch, frames, 3, height, width]`, not clamped
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<5> {
        let latents = latents.cast(self.dtype());
        let pixels = match self {
            Self::Transformer(vae) => vae.decode(latents),
            Self::Conv(vae) => vae.decode(latents),
        };
        pixels.cast(FloatDType::F32)
    }

    /// [`Vae::decode`] up to the input of its [last layer](Vae::last_layer), for a backward pass by
    /// [`ActivationCheckpointing::backward`].
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`
    /// - output: `[batch * frames, features, rows, columns]`
    pub fn decode_features(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        latents: Tensor<4>,
    ) -> Tensor<4> {
        let latents = latents.cast(self.dtype());
        match self {
            Self::Transformer(vae) => vae.decode_features(checkpointing, latents),
            Self::Conv(vae) => vae.decode_features(checkpointing, latents),
        }
    }

    /// The rest of [`Vae::decode`]: from features to pixels by the [last layer](Vae::last_layer).
    ///
    /// # Shapes
    /// - `features`: `[batch * frames, features, rows, columns]`
    /// - output: `[batch, frames, 3, height, width]`, not clamped
    pub fn to_pixels(&self, features: Tensor<4>, batch_and_frames: [usize; 2]) -> Tensor<5> {
        let pixels = match self {
            Self::Transformer(vae) => vae.to_pixels(features, batch_and_frames),
            Self::Conv(vae) => vae.to_pixels(features, batch_and_frames),
        };
        pixels.cast(FloatDType::F32)
    }

    fn dtype(&self) -> DType {
        self.last_layer().weight.val().dtype()
    }

    /// The last layer of the decoder, at which losses are weighted against each other.
    pub fn last_layer(&self) -> &Conv2d {
        match self {
            Self::Transformer(vae) => vae.last_layer(),
            Self::Conv(vae) => vae.last_layer(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_convolutional_kind_keeps_shapes_and_token_order() {
        let device = Device::flex();
        let config = ConvVaeConfig {
            image_size: 16,
            patch_size: 2,
            channels: vec![8, 8],
            latent_channels: 4,
            ..ConvVaeConfig::default()
        };
        let vae = VaeConfig::Conv(config).init(&device).expect("a network");
        assert_eq!(vae.config().latents(), [16, 4]);
        let pixels = Tensor::zeros([2, 3, 3, 16, 16], &device);
        let latents = vae.encode(pixels.clone()).latents();
        assert_eq!(latents.dims(), [2, 3, 16, 4]);
        assert_eq!(vae.decode(latents.clone()).dims(), pixels.dims());

        // A mark in the second square of the first row changes token 1 most.
        let mark = Tensor::ones([2, 3, 3, 4, 4], &device);
        let marked = pixels.slice_assign([0..2, 0..3, 0..3, 0..4, 4..8], mark);
        let change = (vae.encode(marked).latents() - latents).abs().sum_dim(3);
        let change: Vec<f32> = change.into_data().iter::<f32>().take(16).collect();
        let largest = (0..16).max_by(|&a, &b| change[a].total_cmp(&change[b]));
        assert_eq!(largest, Some(1), "{change:?}");
    }

    #[test]
    fn the_kind_is_a_key() {
        let read = |text: &str| toml::from_str::<VaeConfig>(text);
        let conv = read("kind = \"conv\"\nimage_size = 32").expect("a configuration");
        assert_eq!(conv.image_size(), 32);
        assert_eq!(read(&toml::to_string(&conv).expect("TOML")), Ok(conv));
        let unknown = read("kind = \"conv\"\nwidth = 32").expect_err("a key of the other kind");
        assert!(unknown.to_string().contains("`width`"), "{unknown}");
        let odd = ConvVaeConfig {
            image_size: 40,
            ..ConvVaeConfig::default()
        };
        let odd = odd.validate().expect_err("40 is no multiple of 16");
        assert!(odd.to_string().contains("multiple of 16"), "{odd}");
    }
}
