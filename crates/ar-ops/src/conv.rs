//! Convolution that keeps height and width.

use burn::nn::{
    PaddingConfig2d,
    conv::{Conv2d, Conv2dConfig},
};
use burn::tensor::Device;

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
