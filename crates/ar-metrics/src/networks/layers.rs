//! The layers of the networks.

use burn::module::{Initializer, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig, Conv3d, Conv3dConfig};
use burn::nn::{PaddingConfig2d, PaddingConfig3d};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};

/// A batch norm that keeps its trained statistics, even on autodiff devices.
#[derive(Module, Debug)]
pub(super) struct FrozenBatchNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl FrozenBatchNorm {
    fn new(channels: usize, epsilon: f64, device: &Device) -> Self {
        let filled = |with: Initializer| with.init([channels], device);
        Self {
            weight: filled(Initializer::Ones),
            bias: filled(Initializer::Zeros),
            running_mean: filled(Initializer::Zeros),
            running_var: filled(Initializer::Ones),
            epsilon,
        }
    }

    /// The norm of `x` is `scale * x + shift`, channel by channel.
    fn scale_and_shift(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }
}

/// A convolution without bias, and the batch norm after it, computed as one convolution.
#[derive(Module, Debug)]
pub(super) struct ConvBn2d {
    conv: Conv2d,
    bn: FrozenBatchNorm,
}

impl ConvBn2d {
    /// `padding` is the padding of rows and of columns, at both ends.
    pub(super) fn new(
        channels: [usize; 2],
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
        epsilon: f64,
        device: &Device,
    ) -> Self {
        let [rows, columns] = padding;
        Self {
            conv: Conv2dConfig::new(channels, kernel)
                .with_stride([stride; 2])
                .with_padding(PaddingConfig2d::Explicit(rows, columns, rows, columns))
                .with_bias(false)
                .init(device),
            bn: FrozenBatchNorm::new(channels[1], epsilon, device),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = self.bn.scale_and_shift();
        let mut conv = self.conv.clone();
        conv.weight = Param::from_tensor(conv.weight.val() * scale.reshape([-1, 1, 1, 1]));
        conv.bias = Some(Param::from_tensor(shift));
        conv.forward(x)
    }
}

/// A convolution without bias, and the batch norm after it, computed as one convolution.
#[derive(Module, Debug)]
pub(super) struct ConvBn3d {
    conv: Conv3d,
    bn: FrozenBatchNorm,
}

impl ConvBn3d {
    /// Axes are time, height and width; `padding` is at both ends of each.
    pub(super) fn new(
        channels: [usize; 2],
        kernel: usize,
        stride: [usize; 3],
        padding: usize,
        epsilon: f64,
        device: &Device,
    ) -> Self {
        Self {
            conv: Conv3dConfig::new(channels, [kernel; 3])
                .with_stride(stride)
                .with_padding(PaddingConfig3d::Explicit(padding, padding, padding))
                .with_bias(false)
                .init(device),
            bn: FrozenBatchNorm::new(channels[1], epsilon, device),
        }
    }

    pub(super) fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let (scale, shift) = self.bn.scale_and_shift();
        let mut conv = self.conv.clone();
        conv.weight = Param::from_tensor(conv.weight.val() * scale.reshape([-1, 1, 1, 1, 1]));
        conv.bias = Some(Param::from_tensor(shift));
        conv.forward(x)
    }
}

/// Maxima over boxes of `[time, height, width]`, computed over the plane and then over time.
/// Padding is given by axis as `(before, after)` and is never the maximum.
///
/// # Shapes
/// - `x`: `[batch, channels, time, height, width]`
pub(super) fn max_pool3d(
    x: Tensor<5>,
    kernel: [usize; 3],
    stride: [usize; 3],
    padding: [(usize, usize); 3],
) -> Tensor<5> {
    let [batch, channels, time, height, width] = x.dims();
    let over_plane = MaxPoolOptions::new([kernel[1], kernel[2]])
        .with_stride([stride[1], stride[2]])
        .with_padding_pairs([padding[1], padding[2]]);
    let x = max_pool2d(
        x.reshape([batch, channels * time, height, width]),
        over_plane,
    );
    let [_, _, height, width] = x.dims();
    let over_time = MaxPoolOptions::new([kernel[0], 1])
        .with_stride([stride[0], 1])
        .with_padding_pairs([padding[0], (0, 0)]);
    let x = max_pool2d(
        x.reshape([batch, channels, time, height * width]),
        over_time,
    );
    let [_, _, time, _] = x.dims();
    x.reshape([batch, channels, time, height, width])
}

/// TensorFlow's padding `SAME`: windows at every `stride` cover all of `size`, and an odd element
/// of padding is put at the end.
pub(super) fn same_padding(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let covered = (size.div_ceil(stride) - 1) * stride + kernel;
    let padding = covered.saturating_sub(size);
    (padding / 2, padding.div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Int, TensorData};

    #[test]
    fn same_padding_is_tensorflows() {
        assert_eq!(same_padding(224, 7, 2), (2, 3));
        assert_eq!(same_padding(112, 3, 2), (0, 1));
        assert_eq!(same_padding(7, 3, 1), (1, 1));
        assert_eq!(same_padding(7, 2, 2), (0, 1));
        assert_eq!(same_padding(16, 1, 2), (0, 0));
    }

    #[test]
    fn max_pool3d_is_separable() {
        let x = Tensor::<1, Int>::arange(0..2 * 3 * 4 * 5, &Device::flex()).float();
        // Falls along time, rises along height and width.
        let x = (x * 7.0).reshape([1, 2, 3, 4, 5]).flip([2]);
        let pooled = max_pool3d(x.clone(), [2, 3, 2], [2, 1, 2], [(0, 1), (0, 0), (1, 0)]);
        assert_eq!(pooled.dims(), [1, 2, 2, 2, 3]);
        let at = |i: [usize; 5]| x.clone().slice(i.map(|i| i..i + 1)).into_scalar::<f32>();
        let mut expected = Vec::new();
        for channel in 0..2 {
            for time in [0, 2] {
                for row in [2, 3] {
                    for column in [0, 2, 4] {
                        expected.push(at([0, channel, time, row, column]));
                    }
                }
            }
        }
        let expected = TensorData::new(expected, [1, 2, 2, 2, 3]);
        pooled.into_data().assert_eq(&expected, true);
    }
}
