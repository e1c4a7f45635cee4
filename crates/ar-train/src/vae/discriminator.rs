//! The PatchGAN discriminator: a small convolutional network that judges for every patch of a
//! picture whether it is real. With three layers, a patch is 70 x 70 pixels (Isola et al.,
//! "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017).

use burn::module::{Initializer, Module, Param};
use burn::nn::{
    BatchNorm, BatchNormConfig, PaddingConfig2d,
    conv::{Conv2d, Conv2dConfig},
};
use burn::tensor::{Device, Tensor, activation::leaky_relu};

use crate::config::DiscriminatorConfig;

/// The number of channels grows to at most this multiple of the first convolution's.
const LARGEST_MULTIPLE: usize = 8;
const LEAK: f64 = 0.2;
/// Standard deviation of freshly initialised weights.
const INIT_STD: f64 = 0.02;

/// The discriminator.
#[derive(Module, Debug)]
pub struct PatchGan {
    input: Conv2d,
    hidden: Vec<NormalizedConv>,
    output: Conv2d,
}

#[derive(Module, Debug)]
struct NormalizedConv {
    conv: Conv2d,
    norm: BatchNorm,
}

impl PatchGan {
    /// A freshly initialised discriminator of RGB pictures.
    pub fn new(config: &DiscriminatorConfig, device: &Device) -> Self {
        let channels = |layer: usize| {
            let multiple = 1usize.checked_shl(layer as u32).unwrap_or(usize::MAX);
            config.filters * multiple.min(LARGEST_MULTIPLE)
        };
        // All except the last of these halve the resolution; so does the convolution of the input.
        let hidden = (1..=config.layers).map(|layer| {
            let stride = if layer < config.layers { 2 } else { 1 };
            let norm = BatchNormConfig::new(channels(layer)).init(device);
            NormalizedConv {
                conv: conv(
                    [channels(layer - 1), channels(layer)],
                    stride,
                    false,
                    device,
                ),
                norm: BatchNorm {
                    gamma: normal(1.0).init([channels(layer)], device),
                    ..norm
                },
            }
        });
        Self {
            input: conv([3, channels(0)], 2, true, device),
            hidden: hidden.collect(),
            output: conv([channels(config.layers), 1], 1, true, device),
        }
    }

    /// How real each patch looks; higher is more real.
    ///
    /// # Shapes
    /// - `pixels`: `[images, 3, height, width]`
    /// - output: `[images, 1, rows, columns]`
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        let mut x = leaky_relu(self.input.forward(pixels), LEAK);
        for NormalizedConv { conv, norm } in &self.hidden {
            x = leaky_relu(norm.forward(conv.forward(x)), LEAK);
        }
        self.output.forward(x)
    }

    /// Adds the latest batch to the running statistics. Burn otherwise does this at the next batch,
    /// so saved statistics would be one batch behind.
    pub fn settle(&self) {
        for NormalizedConv { norm, .. } in &self.hidden {
            norm.running_mean.value_sync();
            norm.running_var.value_sync();
        }
    }
}

fn normal(mean: f64) -> Initializer {
    Initializer::Normal {
        mean,
        std: INIT_STD,
    }
}

fn conv([input, output]: [usize; 2], stride: usize, bias: bool, device: &Device) -> Conv2d {
    let conv = Conv2dConfig::new([input, output], [4, 4])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(bias)
        .init(device);
    let weight: Param<Tensor<4>> = normal(0.0).init([output, input, 4, 4], device);
    Conv2d { weight, ..conv }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_size_has_its_number_of_parameters() {
        let network = PatchGan::new(&DiscriminatorConfig::default(), &Device::flex());
        // 4 x 4 convolutions 3-64-128-256-512-1, biases at the ends, and three batch norms with
        // scale and shift (their running statistics are counted, too).
        let weights = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512);
        let norms = 4 * (128 + 256 + 512);
        assert_eq!(network.num_params(), weights + 64 + 1 + norms);
    }

    #[test]
    fn a_patch_is_70_pixels_a_side() {
        let device = Device::flex();
        let config = DiscriminatorConfig {
            filters: 2,
            ..DiscriminatorConfig::default()
        };
        // Without autodiff, batch norm does not mix the patches.
        let network = PatchGan::new(&config, &device);
        let black = Tensor::<4>::zeros([1, 3, 128, 128], &device);
        let change = |row: usize| -> f32 {
            let white = Tensor::ones([1, 3, 1, 128], &device);
            let marked = black
                .clone()
                .slice_assign([0..1, 0..3, row..row + 1, 0..128], white);
            let difference = network.forward(marked) - network.forward(black.clone());
            let [_, _, rows, _] = difference.dims();
            assert_eq!(rows, 14);
            // The patches of the seventh row.
            difference
                .slice([0..1, 0..1, 6..7])
                .abs()
                .max()
                .into_scalar()
        };
        let seen: Vec<usize> = (0..128).filter(|&row| change(row) > 0.0).collect();
        assert_eq!((seen.len(), seen[69] - seen[0]), (70, 69), "{seen:?}");
    }
}
