use ar_activation_checkpointing::ActivationCheckpointing;
use ar_ops::conv::{self, Activation, FusedConv2d, depth_to_space, same_conv2d};
use burn::module::{Initializer, Module};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, assert_shape};
use serde::{Deserialize, Serialize};

use crate::config::{VaeConfigError, check_sizes};
use crate::parts::in_parts;
use crate::posterior::{LatentSpace, Posterior};

/// Hyper-parameters of [`ConvVae`]. The default encodes 64 x 64 frames in 16 tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConvVaeConfig {
    /// Side of the square frames, in pixels.
    pub image_size: usize,
    /// Side of the patches that the first convolution reads and the last one writes, in pixels.
    pub patch_size: usize,
    /// Channels of each level; every level except the first halves the resolution.
    pub channels: Vec<usize>,
    /// Residual blocks per level.
    pub res_blocks: usize,
    /// Channels per latent token, C.
    pub latent_channels: usize,
}

impl Default for ConvVaeConfig {
    fn default() -> Self {
        Self {
            image_size: 64,
            patch_size: 4,
            channels: vec![64, 128, 128],
            res_blocks: 1,
            latent_channels: 16,
        }
    }
}

impl ConvVaeConfig {
    /// Side of the square that a token represents, in pixels.
    pub fn token_size(&self) -> usize {
        self.patch_size << (self.channels.len() - 1)
    }

    /// Tokens along one side of a frame.
    pub fn grid(&self) -> usize {
        self.image_size / self.token_size()
    }

    /// Latents of a frame, `[tokens, channels]`.
    pub fn latents(&self) -> [usize; 2] {
        [self.grid().pow(2), self.latent_channels]
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// Names the first key that does not fit.
    pub fn validate(&self) -> Result<(), VaeConfigError> {
        check_sizes(&[
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
            ("channels", self.channels.iter().copied().min().unwrap_or(0)),
            ("channels", self.channels.iter().copied().max().unwrap_or(0)),
            ("res_blocks", self.res_blocks),
            ("latent_channels", self.latent_channels),
        ])?;
        let levels = self.channels.len() as u32 - 1;
        let token_size = self
            .patch_size
            .checked_mul(1usize.checked_shl(levels).unwrap_or(0));
        match token_size {
            Some(size) if size > 0 && self.image_size.is_multiple_of(size) => Ok(()),
            _ => Err(VaeConfigError::Tokens {
                image_size: self.image_size,
                patch_size: self.patch_size,
                levels: self.channels.len(),
            }),
        }
    }

    /// A freshly initialised VAE.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn init(&self, device: &Device) -> Result<ConvVae, VaeConfigError> {
        self.validate()?;
        let coarsest = self.channels[self.channels.len() - 1];
        let finest = self.channels[0];
        let pixels = 3 * self.patch_size.pow(2);
        let down = self.channels.windows(2);
        let up = self.channels.windows(2).rev();
        Ok(ConvVae {
            patch_embed: strided([3, finest], self.patch_size, device),
            encoder: down
                .map(|pair| EncoderLevel {
                    res: self.res_blocks(pair[0], device),
                    down: strided([pair[0], pair[1]], 2, device),
                })
                .collect(),
            encoder_out: self.res_blocks(coarsest, device),
            moments: same_conv2d([coarsest, 2 * self.latent_channels], 1, true, device),
            latent_embed: same_conv2d([self.latent_channels, coarsest], 3, true, device),
            decoder_in: self.res_blocks(coarsest, device),
            decoder: up
                .map(|pair| DecoderLevel {
                    up: same_conv2d([pair[1], 4 * pair[0]], 1, true, device),
                    res: self.res_blocks(pair[0], device),
                })
                .collect(),
            pixels: same_conv2d([finest, pixels], 3, true, device),
            config: self.clone(),
        })
    }

    fn res_blocks(&self, channels: usize, device: &Device) -> Vec<ResBlock> {
        (0..self.res_blocks)
            .map(|_| ResBlock::new(channels, device))
            .collect()
    }
}

/// A convolution over squares of side `side` that do not overlap.
fn strided(channels: [usize; 2], side: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [side; 2])
        .with_stride([side; 2])
        .init(device)
}

/// Two convolutions around a residual, which starts as the identity.
#[derive(Module, Debug)]
struct ResBlock {
    conv1: Conv2d,
    conv2: Conv2d,
}

impl ResBlock {
    fn new(channels: usize, device: &Device) -> Self {
        let mut conv2 = same_conv2d([channels, channels], 3, true, device);
        conv2.weight = Initializer::Zeros.init([channels, channels, 3, 3], device);
        Self {
            conv1: same_conv2d([channels, channels], 3, true, device),
            conv2,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [conv1, conv2] = [&self.conv1, &self.conv2].map(|conv| FusedConv2d {
            activation: Activation::Relu,
            ..FusedConv2d::new(conv)
        });
        conv2.forward(conv1.forward(x.clone(), None), Some(x))
    }
}

fn forward(
    checkpointing: &mut ActivationCheckpointing,
    res: &[ResBlock],
    x: Tensor<4>,
) -> Tensor<4> {
    res.iter().fold(x, |x, block| {
        checkpointing.checkpoint(block, x, ResBlock::forward)
    })
}

#[derive(Module, Debug)]
struct EncoderLevel {
    res: Vec<ResBlock>,
    down: Conv2d,
}

#[derive(Module, Debug)]
struct DecoderLevel {
    up: Conv2d,
    res: Vec<ResBlock>,
}

/// A convolutional VAE whose tokens are a grid of squares of the frame, row by row; every frame is
/// encoded and decoded by itself. It is smaller than [`ArVae`](crate::ArVae) and much faster to
/// train from scratch, with the same interface.
#[derive(Module, Debug)]
pub struct ConvVae {
    patch_embed: Conv2d,
    /// By level, finest first.
    encoder: Vec<EncoderLevel>,
    encoder_out: Vec<ResBlock>,
    moments: Conv2d,
    latent_embed: Conv2d,
    decoder_in: Vec<ResBlock>,
    /// By level, coarsest first.
    decoder: Vec<DecoderLevel>,
    pixels: Conv2d,
    #[module(skip)]
    config: ConvVaeConfig,
}

impl ConvVae {
    /// The configuration of the network.
    pub fn config(&self) -> &ConvVaeConfig {
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
        let mut x = conv::apply(&self.patch_embed, pixels.flatten(0, 1));
        for level in &self.encoder {
            x = conv::apply(&level.down, forward(checkpointing, &level.res, x));
        }
        let x = forward(checkpointing, &self.encoder_out, x);
        let moments = conv::apply(&self.moments, x);
        let [_, channels, rows, columns] = moments.dims();
        let moments = moments
            .reshape([batch, frames, channels, rows * columns])
            .swap_dims(2, 3);
        Posterior::new(moments, LatentSpace::Plane)
    }

    /// Pixels from latents.
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`
    /// - output: `[batch, frames, 3, height, width]`, not clamped
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<5> {
        let [batch, frames, ..] = latents.dims();
        let decode = |latents: Tensor<4>| {
            let shape = [latents.dims()[0], latents.dims()[1]];
            let features = self.decode_features(&mut ActivationCheckpointing::new(false), latents);
            self.to_pixels(features, shape)
        };
        if latents.device().is_autodiff() {
            return decode(latents);
        }
        // Frames do not depend on each other, so a batch of single frames gives the same result.
        let images = latents.flatten::<3>(0, 1).unsqueeze_dim(1);
        let size = self.config.image_size;
        let side = size / self.config.patch_size;
        let most = self.config.channels[0].max(3 * self.config.patch_size.pow(2));
        let pixels = in_parts(images, most * side * side, |part| {
            decode(part).flatten::<4>(0, 1)
        });
        pixels.reshape([batch, frames, 3, size, size])
    }

    /// The input of the decoder's last layer.
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`
    /// - output: `[batch * frames, channels, rows, columns]`
    pub(crate) fn decode_features(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        latents: Tensor<4>,
    ) -> Tensor<4> {
        let [batch, frames, _, channels] = latents.dims();
        let grid = self.config.grid();
        let latents = latents
            .swap_dims(2, 3)
            .reshape([batch * frames, channels, grid, grid]);
        let mut x = forward(
            checkpointing,
            &self.decoder_in,
            conv::apply(&self.latent_embed, latents),
        );
        for level in &self.decoder {
            x = forward(
                checkpointing,
                &level.res,
                depth_to_space(conv::apply(&level.up, x), 2),
            );
        }
        x
    }

    /// # Shapes
    /// - `features`: as returned by [`ConvVae::decode_features`]
    /// - output: `[batch, frames, 3, height, width]`, not clamped
    pub(crate) fn to_pixels(&self, features: Tensor<4>, [batch, frames]: [usize; 2]) -> Tensor<5> {
        let size = self.config.image_size;
        depth_to_space(conv::apply(&self.pixels, features), self.config.patch_size)
            .reshape([batch, frames, 3, size, size])
    }

    /// The decoder's last layer: the pixels of a patch as channels.
    pub(crate) fn last_layer(&self) -> &Conv2d {
        &self.pixels
    }
}
