use ar_activation_checkpointing::ActivationCheckpointing;
use ar_ops::conv::{self, Activation, FusedConv2d, same_conv2d};
use burn::module::Module;
use burn::nn::{GroupNorm, GroupNormConfig, conv::Conv2d};
use burn::tensor::{Device, Tensor, activation::silu};

use crate::PixelDecoderConfig;

/// Two convolutions around a residual. Checkpoint keys `norm1`, `conv1`, `norm2`, `conv2`,
/// `nin_shortcut`.
#[derive(Module, Debug)]
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResBlock {
    fn new([input, output]: [usize; 2], groups: usize, device: &Device) -> Self {
        Self {
            norm1: group_norm(groups, input, device),
            conv1: same_conv2d([input, output], 3, false, device),
            norm2: group_norm(groups, output, device),
            conv2: same_conv2d([output, output], 3, false, device),
            nin_shortcut: (input != output)
                .then(|| same_conv2d([output, output], 1, false, device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let hidden = norm_silu_conv(&self.norm1, &self.conv1).forward(x.clone(), None);
        let layer = norm_silu_conv(&self.norm2, &self.conv2);
        match &self.nin_shortcut {
            // Where the number of channels changes, the published networks feed the block's own
            // output to the shortcut, and drop the input.
            Some(shortcut) => {
                let hidden = layer.forward(hidden, None);
                FusedConv2d::new(shortcut).forward(hidden.clone(), Some(hidden))
            }
            None => layer.forward(hidden, Some(x)),
        }
    }
}

fn norm_silu_conv<'a>(norm: &'a GroupNorm, conv: &'a Conv2d) -> FusedConv2d<'a> {
    FusedConv2d {
        norm: Some(norm),
        activation: Activation::Silu,
        ..FusedConv2d::new(conv)
    }
}

fn upsample_conv(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let layer = FusedConv2d {
        upsample: true,
        ..FusedConv2d::new(conv)
    };
    layer.forward(x, None)
}

/// Residual blocks at one resolution, and the upsampling after them.
#[derive(Module, Debug)]
struct UpLevel {
    block: Vec<ResBlock>,
    upsample_conv: Option<Conv2d>,
}

/// The convolutional decoder from a grid of codes to pixels (MaskGIT-VQGAN).
/// Checkpoint prefix `pixel_decoder.`.
#[derive(Module, Debug)]
pub struct PixelDecoder {
    conv_in: Conv2d,
    mid: Vec<ResBlock>,
    /// By level, full resolution first; applied from the last to the first.
    up: Vec<UpLevel>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

fn group_norm(groups: usize, channels: usize, device: &Device) -> GroupNorm {
    GroupNormConfig::new(groups, channels)
        .with_epsilon(1e-6)
        .init(device)
}

impl PixelDecoder {
    /// A freshly initialised decoder.
    pub fn new(config: &PixelDecoderConfig, device: &Device) -> Self {
        let groups = config.norm_groups;
        let channels: Vec<usize> = config
            .channel_multipliers
            .iter()
            .map(|multiplier| multiplier * config.hidden_channels)
            .collect();
        let levels = channels.len();
        let coarsest = channels[levels - 1];
        let up = (0..levels)
            .map(|level| {
                let input = channels[(level + 1).min(levels - 1)];
                let output = channels[level];
                UpLevel {
                    block: (0..config.res_blocks)
                        .map(|block| {
                            let input = if block == 0 { input } else { output };
                            ResBlock::new([input, output], groups, device)
                        })
                        .collect(),
                    upsample_conv: (level > 0)
                        .then(|| same_conv2d([output, output], 3, true, device)),
                }
            })
            .collect();
        Self {
            conv_in: same_conv2d([config.z_channels, coarsest], 3, true, device),
            mid: (0..config.res_blocks)
                .map(|_| ResBlock::new([coarsest, coarsest], groups, device))
                .collect(),
            up,
            norm_out: group_norm(groups, channels[0], device),
            conv_out: same_conv2d([channels[0], 3], 3, true, device),
        }
    }

    /// Pixels from codes, without autodiff.
    ///
    /// # Shapes
    /// - `codes`: `[images, z_channels, grid, grid]`
    /// - output: `[images, 3, height, width]`, not clamped
    pub(crate) fn forward(&self, codes: Tensor<4>) -> Tensor<4> {
        let x = self.blocks(&mut ActivationCheckpointing::new(false), codes);
        norm_silu_conv(&self.norm_out, &self.conv_out).forward(x, None)
    }

    /// The input of the last layer.
    ///
    /// # Shapes
    /// - `codes`: `[images, z_channels, grid, grid]`
    /// - output: `[images, hidden_channels * first multiplier, height, width]`
    pub(crate) fn features(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        codes: Tensor<4>,
    ) -> Tensor<4> {
        silu(self.norm_out.forward(self.blocks(checkpointing, codes)))
    }

    fn blocks(&self, checkpointing: &mut ActivationCheckpointing, codes: Tensor<4>) -> Tensor<4> {
        let mut x = conv::apply(&self.conv_in, codes);
        for block in &self.mid {
            x = checkpointing.checkpoint(block, x, ResBlock::forward);
        }
        for level in self.up.iter().rev() {
            for block in &level.block {
                x = checkpointing.checkpoint(block, x, ResBlock::forward);
            }
            if let Some(conv) = &level.upsample_conv {
                x = checkpointing.checkpoint(conv, x, upsample_conv);
            }
        }
        x
    }

    /// The convolution to RGB.
    pub(crate) fn last_layer(&self) -> &Conv2d {
        &self.conv_out
    }
}
