//! Convolution that keeps height and width, and channels that become pixels.

use burn::nn::{
    PaddingConfig2d,
    conv::{Conv2d, Conv2dConfig},
};
use burn::tensor::{Device, Tensor};

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

/// Spreads groups of `side²` channels over squares of pixels (pixel shuffle).
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
