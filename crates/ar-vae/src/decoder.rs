use ar_activation_checkpointing::ActivationCheckpointing;
use ar_ops::{activation::tanh, conv, linear::linear, norm::l2_normalize};
use burn::module::{Module, Param};
use burn::nn::{
    Initializer, LayerNorm, LayerNormConfig, Linear,
    conv::{Conv2d, Conv2dConfig},
};
use burn::tensor::{Device, Tensor, activation::softmax};

use crate::{
    ArVaeConfig, CoarseTemporalBlock, FineTemporalBlock, ResidualAttentionBlock,
    encoder::embedding_init,
};

/// From latent tokens to a grid of codebook probabilities. Checkpoint prefix `decoder.`; the two
/// convolutions of the head are `decoder.ffn.{0,2}` there.
#[derive(Module, Debug)]
pub struct Decoder {
    decoder_embed: Linear,
    class_embedding: Param<Tensor<2>>,
    positional_embedding: Param<Tensor<2>>,
    mask_token: Param<Tensor<3>>,
    latent_token_positional_embedding: Param<Tensor<2>>,
    ln_pre: LayerNorm,
    transformer: Vec<ResidualAttentionBlock>,
    /// One per layer in a temporal decoder, otherwise none.
    fine_temporal_blocks: Vec<FineTemporalBlock>,
    /// One per layer in a temporal decoder, otherwise none.
    coarse_temporal_blocks: Vec<CoarseTemporalBlock>,
    ln_post: LayerNorm,
    ffn_in: Conv2d,
    ffn_out: Conv2d,
    grid: usize,
}

/// The convolution before the softmax. Its weights start three times as large as usual, because the
/// tanh before it halves its input, and the softmax of logits far below 1 is almost uniform.
fn logits([input, output]: [usize; 2], device: &Device) -> Conv2d {
    let mut conv = Conv2dConfig::new([input, output], [1, 1]).init(device);
    let normal = Initializer::Normal {
        mean: 0.0,
        std: 3.0 * (input as f64).powf(-0.5),
    };
    conv.weight = normal.init([output, input, 1, 1], device);
    conv
}

impl Decoder {
    /// A freshly initialised decoder.
    pub fn new(config: &ArVaeConfig, device: &Device) -> Self {
        let width = config.width;
        let embedding = embedding_init(width);
        let grid = config.grid();
        let temporal_layers = if config.temporal { config.layers } else { 0 };
        Self {
            decoder_embed: linear(
                [config.latent_channels, width],
                Initializer::XavierUniform { gain: 1.0 },
                device,
            ),
            class_embedding: embedding.init([1, width], device),
            positional_embedding: embedding.init([grid * grid + 1, width], device),
            mask_token: embedding.init([1, 1, width], device),
            latent_token_positional_embedding: embedding
                .init([config.latent_tokens, width], device),
            ln_pre: LayerNormConfig::new(width).init(device),
            transformer: (0..config.layers)
                .map(|_| ResidualAttentionBlock::new(config, device))
                .collect(),
            fine_temporal_blocks: (0..temporal_layers)
                .map(|_| FineTemporalBlock::new(config, device))
                .collect(),
            coarse_temporal_blocks: (0..temporal_layers)
                .map(|_| CoarseTemporalBlock::new(config, device))
                .collect(),
            ln_post: LayerNormConfig::new(width).init(device),
            ffn_in: Conv2dConfig::new([width, 2 * width], [1, 1]).init(device),
            ffn_out: logits([2 * width, config.codebook_channels], device),
            grid,
        }
    }

    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`, of any norm: only their direction counts
    /// - output: `[batch * frames, codebook_channels, grid, grid]`, summing to one over channels
    pub fn forward(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        latents: Tensor<4>,
    ) -> Tensor<4> {
        let [batch, frames, tokens, _] = latents.dims();
        let images = batch * frames;
        let patches = self.grid * self.grid;
        let latents = self
            .decoder_embed
            .forward(l2_normalize(latents, 3))
            .flatten::<3>(0, 1)
            + self.latent_token_positional_embedding.val().unsqueeze();
        let width = latents.dims()[2];
        let class = self.class_embedding.val().unsqueeze::<3>();
        let masks = self.mask_token.val().expand([1, patches, width]);
        let image =
            Tensor::cat(vec![class, masks], 1) + self.positional_embedding.val().unsqueeze();
        let image = image.expand([images, 1 + patches, width]);

        let mut x = self.ln_pre.forward(Tensor::cat(vec![image, latents], 1));
        for (layer, block) in self.transformer.iter().enumerate() {
            if let (Some(fine), Some(coarse)) = (
                self.fine_temporal_blocks.get(layer),
                self.coarse_temporal_blocks.get(layer),
            ) {
                let pair = (fine.clone(), coarse.clone());
                x = checkpointing.checkpoint(&pair, x, move |(fine, coarse), x| {
                    // The class token skips both.
                    let class = x.clone().narrow(1, 0, 1);
                    let video = x.narrow(1, 1, patches + tokens).reshape([
                        batch,
                        frames,
                        patches + tokens,
                        width,
                    ]);
                    let image = fine.forward(video.clone().narrow(2, 0, patches));
                    let video = Tensor::cat(vec![image, video.narrow(2, patches, tokens)], 2);
                    let video = coarse.forward(video, tokens).flatten::<3>(0, 1);
                    Tensor::cat(vec![class, video], 1)
                });
            }
            x = checkpointing.checkpoint(block, x, ResidualAttentionBlock::forward);
        }
        let image = self.ln_post.forward(x.narrow(1, 1, patches));
        let image = image
            .reshape([images, self.grid, self.grid, width])
            .permute([0, 3, 1, 2]);
        let hidden = tanh(conv::apply(&self.ffn_in, image));
        softmax(conv::apply(&self.ffn_out, hidden), 1)
    }
}
