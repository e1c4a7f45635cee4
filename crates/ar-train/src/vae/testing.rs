//! Networks and frames shared by tests of the VAE stages.

use ar_data::VideoItem;
use ar_vae::{ArVaeConfig, ConvVaeConfig, PixelDecoderConfig, VaeConfig};
use ar_video::{Clip, Frame};
use burn::tensor::{Device, Distribution, Tensor};

/// A convolutional tokenizer for 16 x 16 frames.
pub(super) fn small_conv() -> VaeConfig {
    VaeConfig::Conv(ConvVaeConfig {
        image_size: 16,
        patch_size: 4,
        channels: vec![8, 8],
        res_blocks: 1,
        latent_channels: 4,
    })
}

/// A transformer tokenizer for 16 x 16 frames.
pub(super) fn small_transformer(temporal: bool) -> VaeConfig {
    VaeConfig::Transformer(ArVaeConfig {
        image_size: 16,
        patch_size: 4,
        width: 16,
        layers: 1,
        heads: 2,
        latent_tokens: 4,
        latent_channels: 4,
        codebook_channels: 16,
        temporal,
        pixel_decoder: PixelDecoderConfig {
            hidden_channels: 8,
            channel_multipliers: vec![1, 1, 2],
            res_blocks: 1,
            z_channels: 8,
            norm_groups: 4,
        },
    })
}

/// Noise in `[0, 1]`, `[batch, frames, 3, size, size]`.
pub(super) fn pixels([batch, frames]: [usize; 2], size: usize, device: &Device) -> Tensor<5> {
    let shape = [batch, frames, 3, size, size];
    Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device)
}

/// Clips of one frame of 16 x 16 pixels, all of them different.
pub(super) fn items(count: usize) -> Vec<VideoItem> {
    let item = |clip: usize| {
        let value = |i: usize| ((i * (clip + 3)) % 251) as u8;
        let rgb = (0..16 * 16 * 3).map(value).collect();
        let frame = Frame::new(16, 16, rgb);
        VideoItem {
            clip: Clip::new(vec![frame]),
            label: None,
            source: clip as u64,
        }
    };
    (0..count).map(item).collect()
}
