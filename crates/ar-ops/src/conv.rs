//! Convolutions, by themselves or fused with the operations around them in residual blocks, and pixel shuffle.

use burn::nn::{
    GroupNorm, PaddingConfig2d,
    conv::{Conv2d, Conv2dConfig},
};
use burn::tensor::{
    Device, Tensor,
    activation::{relu, silu},
};

/// A stride-1 convolution with an odd square kernel whose output is as large as its input.
pub fn same_conv2d(
    [channels_in, channels_out]: [usize; 2],
    kernel: usize,
    bias: bool,
    device: &Device,
) -> Conv2d {
    assert!(kernel % 2 == 1, "an even kernel has no centre: {kernel}");
    let pad = kernel / 2;
    Conv2dConfig::new([channels_in, channels_out], [kernel, kernel])
        .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
        .with_bias(bias)
        .init(device)
}

/// Applies a convolution: `Conv2d::forward`, faster on the CPU without autodiff.
///
/// # Shapes
/// - `x`: `[images, channels in, height, width]`
/// - output: `[images, channels out, output height, output width]`
pub fn apply(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    FusedConv2d::new(conv).forward(x, None)
}

/// A convolution with the operations before it in a residual block:
///
/// ```text
/// output = conv(upsample(activation(norm(x)))) + residual
/// ```
///
/// On the CPU, without autodiff, one kernel computes all of it.
#[derive(Clone, Copy, Debug)]
pub struct FusedConv2d<'a> {
    /// The norm of the input.
    pub norm: Option<&'a GroupNorm>,
    /// Applied after the norm.
    pub activation: Activation,
    /// Whether height and width are doubled before the convolution, by repeating pixels.
    pub upsample: bool,
    /// The convolution.
    pub conv: &'a Conv2d,
}

/// The activation before a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x σ(x)`
    Silu,
}

impl<'a> FusedConv2d<'a> {
    /// Only the convolution.
    pub fn new(conv: &'a Conv2d) -> Self {
        Self {
            norm: None,
            activation: Activation::Identity,
            upsample: false,
            conv,
        }
    }

    /// # Shapes
    /// - `x`: `[images, channels in, height, width]`
    /// - `residual` and output: `[images, channels out, output height, output width]`
    pub fn forward(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        if ar_kernels::covers_without_autodiff(&x)
            && let Some(padding) = covered_padding(self.conv)
        {
            let output = self
                .kernel(padding, residual)
                .forward(ar_kernels::into_flex(x));
            return ar_kernels::from_flex(output);
        }
        self.forward_plain(x, residual)
    }

    fn forward_plain(&self, x: Tensor<4>, residual: Option<Tensor<4>>) -> Tensor<4> {
        let x = match self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let x = match self.activation {
            Activation::Identity => x,
            Activation::Relu => relu(x),
            Activation::Silu => silu(x),
        };
        let x = if self.upsample {
            upsample_nearest_2x(x)
        } else {
            x
        };
        let output = self.conv.forward(x);
        match residual {
            Some(residual) => output + residual,
            None => output,
        }
    }

    #[cfg(feature = "flex")]
    fn kernel(&self, padding: usize, residual: Option<Tensor<4>>) -> ar_kernels::conv::Convolution {
        use ar_kernels::conv::{self, Convolution};
        use ar_kernels::into_flex;

        let norm = self.norm.map(|norm| conv::GroupNorm {
            groups: norm.num_groups,
            epsilon: norm.epsilon,
            affine: match (&norm.gamma, &norm.beta) {
                (Some(gamma), Some(beta)) => Some([gamma, beta].map(|x| into_flex(x.val()))),
                _ => None,
            },
        });
        Convolution {
            norm,
            activation: match self.activation {
                Activation::Identity => conv::Activation::Identity,
                Activation::Relu => conv::Activation::Relu,
                Activation::Silu => conv::Activation::Silu,
            },
            upsample: self.upsample,
            weight: into_flex(self.conv.weight.val()),
            bias: self.conv.bias.as_ref().map(|bias| into_flex(bias.val())),
            stride: self.conv.stride[0],
            padding,
            residual: residual.map(into_flex),
        }
    }
}

/// The padding of a convolution if the kernel covers it: the same on all sides, and nothing else unusual.
#[cfg(feature = "flex")]
fn covered_padding(conv: &Conv2d) -> Option<usize> {
    let [height, width] = conv.kernel_size;
    let is_square = height == width && conv.stride[0] == conv.stride[1];
    if !is_square || conv.dilation != [1, 1] || conv.groups != 1 {
        return None;
    }
    match conv.padding {
        PaddingConfig2d::Valid => Some(0),
        PaddingConfig2d::Explicit(top, left, bottom, right) => [left, bottom, right]
            .iter()
            .all(|&side| side == top)
            .then_some(top),
        PaddingConfig2d::Same => None,
    }
}

/// Repeats every pixel twice along both axes.
fn upsample_nearest_2x(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height, 1, width, 1])
        .expand([batch, channels, height, 2, width, 2])
        .reshape([batch, channels, 2 * height, 2 * width])
}

/// Turns groups of `side²` channels into squares of pixels (pixel shuffle).
///
/// # Shapes
/// - `x`: `[batch, channels * side * side, height, width]`
/// - output: `[batch, channels, height * side, width * side]`
pub fn depth_to_space(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [batch, depth, height, width] = x.dims();
    let channels = depth / (side * side);
    x.reshape([batch, channels, side, side, height, width])
        .permute([0, 1, 4, 2, 5, 3])
        .reshape([batch, channels, height * side, width * side])
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::nn::GroupNormConfig;
    use burn::tensor::Distribution;

    /// Largest error divided by the largest value. Winograd's algorithm rounds a few times more often than a sum.
    const TOLERANCE: f32 = 1e-5;

    fn seed() {
        Device::flex().seed(0);
    }

    fn normal<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    /// `[kernel, stride, padding]`
    fn conv([channels_in, channels_out]: [usize; 2], sizes: [usize; 3], bias: bool) -> Conv2d {
        let [kernel, stride, padding] = sizes;
        let mut conv = Conv2dConfig::new([channels_in, channels_out], [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(
                padding, padding, padding, padding,
            ))
            .with_bias(bias)
            .init(&Device::flex());
        if bias {
            conv.bias = Some(Param::from_tensor(normal([channels_out])));
        }
        conv
    }

    #[track_caller]
    fn agree(fused: FusedConv2d, x: Tensor<4>, residual: Option<Tensor<4>>) {
        let expected = fused.forward_plain(x.clone(), residual.clone());
        let output = fused.forward(x.clone(), residual);
        assert_eq!(output.dims(), expected.dims());
        let size: f32 = expected.clone().abs().max().into_scalar();
        let error: f32 = (output - expected).abs().max().into_scalar();
        assert!(
            error <= TOLERANCE * size,
            "{:?} of {fused:?}: {error:e} of {size}",
            x.dims()
        );
    }

    const LAYERS: [([usize; 2], [usize; 3], [usize; 2]); 12] = [
        // Few and many channels: fewer than a vector, and not a multiple of one.
        ([3, 5], [3, 1, 1], [7, 9]),
        ([300, 70], [3, 1, 1], [6, 5]),
        ([40, 33], [1, 1, 0], [9, 10]),
        ([1, 1], [1, 1, 0], [1, 1]),
        // Strides with windows that overlap, touch, and leave a remainder.
        ([5, 7], [3, 2, 1], [10, 11]),
        ([8, 12], [2, 2, 0], [8, 8]),
        ([3, 40], [16, 16, 0], [33, 32]),
        ([4, 4], [5, 1, 2], [5, 6]),
        ([4, 6], [3, 1, 0], [5, 6]),
        // Winograd's algorithm: whole tiles, and partial tiles at two sides.
        ([16, 16], [3, 1, 1], [32, 32]),
        ([20, 35], [3, 1, 1], [33, 30]),
        ([36, 100], [3, 1, 1], [29, 47]),
    ];

    #[test]
    fn the_kernel_agrees_with_plain_operations() {
        seed();
        for (channels, sizes, [height, width]) in LAYERS {
            for bias in [false, true] {
                let conv = conv(channels, sizes, bias);
                for activation in [Activation::Identity, Activation::Relu, Activation::Silu] {
                    for upsample in [false, true] {
                        let fused = FusedConv2d {
                            activation,
                            upsample,
                            ..FusedConv2d::new(&conv)
                        };
                        let x = normal([2, channels[0], height, width]);
                        let shape = fused.forward(x.clone(), None).dims();
                        agree(fused, x.clone(), None);
                        agree(fused, x, Some(normal(shape)));
                    }
                }
            }
        }
    }

    #[test]
    fn the_kernel_normalises_groups() {
        seed();
        for (channels, sizes, [height, width]) in LAYERS {
            let conv = conv(channels, sizes, true);
            let count = channels[0];
            if count == 1 {
                // Burn's group norm does not accept single values.
                continue;
            }
            let groups = if count.is_multiple_of(4) { 4 } else { count };
            let mut norm = GroupNormConfig::new(groups, count)
                .with_epsilon(1e-3)
                .init(&Device::flex());
            norm.gamma = Some(Param::from_tensor(normal([count])));
            norm.beta = Some(Param::from_tensor(normal([count])));
            let fused = FusedConv2d {
                norm: Some(&norm),
                activation: Activation::Silu,
                ..FusedConv2d::new(&conv)
            };
            // Far from zero, where a variance computed as a difference of large numbers would be wrong.
            let x = normal([2, count, height, width]).add_scalar(30.0);
            agree(fused, x, None);
        }
    }

    #[test]
    fn views_are_read_and_written_as_they_lie() {
        seed();
        let (first, second) = (
            conv([20, 24], [3, 1, 1], false),
            conv([24, 20], [3, 1, 1], false),
        );
        // Channels-last already, and part of a larger tensor.
        let x = normal([3, 36, 33, 20]).permute([0, 3, 1, 2]);
        agree(FusedConv2d::new(&first), x.clone(), None);
        agree(FusedConv2d::new(&first), x.clone().narrow(0, 1, 2), None);
        agree(FusedConv2d::new(&first), x.clone().narrow(2, 1, 32), None);
        // The residual of a block is its input, and neither changes.
        let before = x.to_data();
        let hidden = apply(&first, x.clone());
        agree(FusedConv2d::new(&second), hidden, Some(x.clone()));
        assert_eq!(x.into_data(), before);
    }

    #[test]
    fn an_image_is_the_same_in_every_batch() {
        seed();
        for (channels, sizes, [height, width]) in LAYERS {
            let conv = conv(channels, sizes, true);
            let x = normal([3, channels[0], height, width]);
            let all = apply(&conv, x.clone()).narrow(0, 1, 1);
            let one = apply(&conv, x.narrow(0, 1, 1));
            assert_eq!(all.into_data(), one.into_data());
        }
    }

    #[test]
    fn other_convolutions_are_burns() {
        seed();
        let padded = |padding| Conv2dConfig::new([4, 6], [3, 3]).with_padding(padding);
        let configs = [
            padded(PaddingConfig2d::Same),
            padded(PaddingConfig2d::Explicit(0, 1, 2, 1)),
            padded(PaddingConfig2d::Valid).with_dilation([2, 2]),
            padded(PaddingConfig2d::Valid).with_groups(2),
            padded(PaddingConfig2d::Valid).with_stride([1, 2]),
            Conv2dConfig::new([4, 6], [1, 3]),
        ];
        for config in configs {
            let conv = config.init(&Device::flex());
            let x = normal([1, 4, 8, 8]);
            let expected = conv.forward(x.clone());
            assert_eq!(apply(&conv, x).into_data(), expected.into_data());
        }
    }

    #[test]
    fn gradients_are_burns() {
        seed();
        let conv = conv([20, 35], [3, 1, 1], true);
        let x = normal([1, 20, 33, 30]).autodiff().require_grad();
        let residual = normal([1, 35, 33, 30]).autodiff();
        let fused = FusedConv2d {
            activation: Activation::Silu,
            ..FusedConv2d::new(&conv)
        };
        let gradient = |output: Tensor<4>| x.grad(&output.square().sum().backward());
        let expected = gradient(fused.forward_plain(x.clone(), Some(residual.clone())));
        let gradient = gradient(fused.forward(x.clone(), Some(residual)));
        let [gradient, expected] = [gradient, expected].map(|g| g.expect("a gradient").into_data());
        assert_eq!(gradient, expected);
    }
}
