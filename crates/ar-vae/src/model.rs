use ar_activation_checkpointing::ActivationCheckpointing;
use ar_ops::conv;
use burn::module::{Module, Param};
use burn::nn::{
    Initializer,
    conv::{Conv2d, Conv2dConfig},
};
use burn::tensor::{Device, Tensor, assert_shape};

use crate::parts::in_parts;
use crate::posterior::{LatentSpace, Posterior};
use crate::{ArVaeConfig, Decoder, Encoder, PixelDecoder, VaeConfigError, encoder::embedding_init};

/// Where field paths of [`ArVae`] differ from the keys of published checkpoints: `(path, key)` of the parts that
/// differ.
pub const CHECKPOINT_KEYS: &[(&str, &str)] = &[
    ("in_proj.", "in_proj_"),
    ("decoder.ffn_in.", "decoder.ffn.0."),
    ("decoder.ffn_out.", "decoder.ffn.2."),
];

/// The AR-VAE. Checkpoint keys equal the field paths except for [`CHECKPOINT_KEYS`].
#[derive(Module, Debug)]
pub struct ArVae {
    encoder: Encoder,
    latent_tokens: Param<Tensor<2>>,
    decoder: Decoder,
    pixel_quantize_conv: Conv2d,
    pixel_decoder: PixelDecoder,
    #[module(skip)]
    config: ArVaeConfig,
}

impl ArVaeConfig {
    /// A freshly initialised VAE.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn init(&self, device: &Device) -> Result<ArVae, VaeConfigError> {
        self.validate()?;
        let pixel_quantize_conv = codebook(
            self.codebook_channels,
            self.pixel_decoder.z_channels,
            device,
        );
        Ok(ArVae {
            encoder: Encoder::new(self, device),
            latent_tokens: embedding_init(self.width)
                .init([self.latent_tokens, self.width], device),
            decoder: Decoder::new(self, device),
            pixel_quantize_conv,
            pixel_decoder: PixelDecoder::new(&self.pixel_decoder, device),
            config: self.clone(),
        })
    }
}

/// The convolution that reads the softmax over `channels`.
///
/// Softmax outputs values around `1 / channels`. Weights of standard deviation `√channels` bring codes back to the
/// scale of the logits, and the bias removes what all positions have in common. With the usual initialisation, training
/// stays on a plateau where every frame decodes to its mean background.
fn codebook(channels: usize, output: usize, device: &Device) -> Conv2d {
    let mut conv = Conv2dConfig::new([channels, output], [1, 1]).init(device);
    let normal = Initializer::Normal {
        mean: 0.0,
        std: (channels as f64).sqrt(),
    };
    conv.weight = normal.init([output, channels, 1, 1], device);
    let mean = conv.weight.val().mean_dim(1).reshape([output]);
    conv.bias = Some(Param::from_data((-mean).into_data(), device));
    conv
}

impl ArVae {
    /// The configuration of the network.
    pub fn config(&self) -> &ArVaeConfig {
        &self.config
    }

    /// The posterior over the latents of a video.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, frames, 3, height, width]` in `[0, 1]`
    pub fn encode(&self, pixels: Tensor<5>) -> Posterior {
        self.encode_checkpointed(&mut ActivationCheckpointing::new(false), pixels)
    }

    /// # Shapes
    /// - `pixels`: `[batch, frames, 3, height, width]` in `[0, 1]`
    pub(crate) fn encode_checkpointed(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        pixels: Tensor<5>,
    ) -> Posterior {
        let size = self.config.image_size;
        assert_shape!(pixels, [_, _, 3, size, size]);
        let [batch, frames, ..] = pixels.dims();
        let moments = self.encoder.forward(
            checkpointing,
            pixels.flatten(0, 1),
            self.latent_tokens.val(),
        );
        let [_, channels, tokens] = moments.dims();
        let moments = moments
            .swap_dims(1, 2)
            .reshape([batch, frames, tokens, channels]);
        Posterior::new(moments, LatentSpace::Sphere)
    }

    /// Pixels from latents.
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`, of any norm: only their direction counts
    /// - output: `[batch, frames, 3, height, width]`, not clamped
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<5> {
        let [batch, frames, ..] = latents.dims();
        let mut checkpointing = ActivationCheckpointing::new(false);
        if latents.device().is_autodiff() {
            let features = self.decode_features(&mut checkpointing, latents);
            return self.to_pixels(features, [batch, frames]);
        }
        let codes = self.codes(&mut checkpointing, latents);
        let channels = self.last_layer().weight.dims()[1];
        let pixels = in_parts(codes, channels * self.config.image_size.pow(2), |codes| {
            self.pixel_decoder.forward(codes)
        });
        let [_, channels, height, width] = pixels.dims();
        pixels.reshape([batch, frames, channels, height, width])
    }

    /// The input of the pixel decoder.
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`
    /// - output: `[batch * frames, z_channels, grid, grid]`
    fn codes(&self, checkpointing: &mut ActivationCheckpointing, latents: Tensor<4>) -> Tensor<4> {
        let probabilities = self.decoder.forward(checkpointing, latents);
        conv::apply(&self.pixel_quantize_conv, probabilities)
    }

    /// The input of the decoder's last layer.
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`
    /// - output: `[batch * frames, hidden_channels, height, width]`
    pub(crate) fn decode_features(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        latents: Tensor<4>,
    ) -> Tensor<4> {
        let codes = self.codes(checkpointing, latents);
        self.pixel_decoder.features(checkpointing, codes)
    }

    /// # Shapes
    /// - `features`: as returned by [`ArVae::decode_features`]
    /// - output: `[batch, frames, 3, height, width]`, not clamped
    pub(crate) fn to_pixels(&self, features: Tensor<4>, [batch, frames]: [usize; 2]) -> Tensor<5> {
        let pixels = self.last_layer().forward(features);
        let [_, channels, height, width] = pixels.dims();
        pixels.reshape([batch, frames, channels, height, width])
    }

    /// The decoder's last layer, whose output is the pixels.
    pub(crate) fn last_layer(&self) -> &Conv2d {
        self.pixel_decoder.last_layer()
    }
}
