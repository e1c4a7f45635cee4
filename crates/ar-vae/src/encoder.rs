use ar_activation_checkpointing::ActivationCheckpointing;
use ar_ops::conv;
use burn::module::{Module, Param};
use burn::nn::{
    Initializer, LayerNorm, LayerNormConfig,
    conv::{Conv2d, Conv2dConfig},
};
use burn::tensor::{Device, Tensor};

use crate::{ArVaeConfig, ResidualAttentionBlock};

/// From frames to the moments of their latent tokens. Checkpoint prefix `encoder.`.
#[derive(Module, Debug)]
pub struct Encoder {
    patch_embed: Conv2d,
    class_embedding: Param<Tensor<2>>,
    positional_embedding: Param<Tensor<2>>,
    latent_token_positional_embedding: Param<Tensor<2>>,
    ln_pre: LayerNorm,
    transformer: Vec<ResidualAttentionBlock>,
    ln_post: LayerNorm,
    conv_out: Conv2d,
}

/// Initialiser of learned tokens and positions.
pub(crate) fn embedding_init(width: usize) -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: (width as f64).powf(-0.5),
    }
}

impl Encoder {
    /// A freshly initialised encoder.
    pub fn new(config: &ArVaeConfig, device: &Device) -> Self {
        let width = config.width;
        let embedding = embedding_init(width);
        let patches = config.grid().pow(2);
        Self {
            patch_embed: Conv2dConfig::new([3, width], [config.patch_size; 2])
                .with_stride([config.patch_size; 2])
                .init(device),
            class_embedding: embedding.init([1, width], device),
            positional_embedding: embedding.init([patches + 1, width], device),
            latent_token_positional_embedding: embedding
                .init([config.latent_tokens, width], device),
            ln_pre: LayerNormConfig::new(width).init(device),
            transformer: (0..config.layers)
                .map(|_| ResidualAttentionBlock::new(config, device))
                .collect(),
            ln_post: LayerNormConfig::new(width).init(device),
            conv_out: Conv2dConfig::new([width, 2 * config.latent_channels], [1, 1]).init(device),
        }
    }

    /// # Shapes
    /// - `pixels`: `[images, 3, height, width]` in `[0, 1]`
    /// - `latent_tokens`: `[latent_tokens, width]`, learned, shared with nothing else
    /// - output: moments, `[images, 2 * latent_channels, latent_tokens]`
    pub fn forward(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        pixels: Tensor<4>,
        latent_tokens: Tensor<2>,
    ) -> Tensor<3> {
        let patches = conv::apply(&self.patch_embed, pixels); // [images, width, grid, grid]
        let [images, width, grid, _] = patches.dims();
        let patches = patches
            .reshape([images, width, grid * grid])
            .swap_dims(1, 2);
        let class = self
            .class_embedding
            .val()
            .unsqueeze::<3>()
            .expand([images, 1, width]);
        let image =
            Tensor::cat(vec![class, patches], 1) + self.positional_embedding.val().unsqueeze();
        let tokens = latent_tokens.dims()[0];
        let latents = (latent_tokens + self.latent_token_positional_embedding.val())
            .unsqueeze::<3>()
            .expand([images, tokens, width]);

        let mut x = self.ln_pre.forward(Tensor::cat(vec![image, latents], 1));
        for block in &self.transformer {
            x = checkpointing.checkpoint(block, x, ResidualAttentionBlock::forward);
        }
        let latents = self.ln_post.forward(x.narrow(1, 1 + grid * grid, tokens));
        // The published networks reinterpret [tokens, width] as [width, tokens] without a
        // transpose; the convolution has learned to read it that way.
        let latents = latents.reshape([images, width, tokens, 1]);
        let moments = conv::apply(&self.conv_out, latents);
        moments.squeeze_dim(3)
    }
}
