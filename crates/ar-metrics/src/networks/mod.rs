//! Networks whose features are compared, one file each. The user provides their weights: published
//! checkpoints, in PyTorch's own format or as safetensors, with their published keys.
//!
//! All of them run with the trained statistics of their batch norms; none of them is for training.

mod alexnet;
mod c3d;
mod i3d;
mod inception_v3;
mod layers;
mod lpips;
mod resnet3d;
mod vgg16;

use std::ops::RangeInclusive;

use burn::tensor::{Tensor, module::interpolate, ops::InterpolateMode, ops::InterpolateOptions};

pub use alexnet::AlexNet;
pub use c3d::C3d;
pub use i3d::I3d;
pub use inception_v3::InceptionV3;
pub use lpips::Lpips;
pub use resnet3d::ResNet3d;
pub use vgg16::Vgg16;

/// A network that turns videos into feature vectors.
pub trait FeatureExtractor {
    /// Features per sample.
    fn width(&self) -> usize;

    /// Frames that a clip may have.
    fn frames(&self) -> RangeInclusive<usize>;

    /// # Shapes
    /// - `clips`: `[batch, frames, 3, height, width]` in `[0, 1]`
    /// - output: `[samples, width]`; a sample is a clip, or a frame if the network looks at single
    ///   frames
    ///
    /// # Panics
    /// If the number of frames is not in [`frames`](Self::frames).
    fn features(&self, clips: Tensor<5>) -> Tensor<2>;
}

/// Gets the activations of a network's stages by name, as they are computed.
pub type LayerObserver<'a, const D: usize> = &'a mut dyn FnMut(&str, &Tensor<D>);

/// Panics if a clip has too few or too many frames.
#[track_caller]
fn assert_frames(network: &impl FeatureExtractor, clips: &Tensor<5>) {
    let ([_, frames, ..], range) = (clips.dims(), network.frames());
    assert!(
        range.contains(&frames),
        "a clip of {frames} frames; the network takes {range:?}"
    );
}

/// Stretches frames to `[height, width]` as PyTorch does without antialiasing and with
/// `align_corners=False`.
///
/// # Shapes
/// - `clips`: `[batch, frames, 3, height, width]`
fn stretch(clips: Tensor<5>, size: [usize; 2], mode: InterpolateMode) -> Tensor<5> {
    let [batch, frames, channels, height, width] = clips.dims();
    if [height, width] == size {
        return clips;
    }
    let options = InterpolateOptions::new(mode)
        .with_align_corners(false)
        .with_output_size(size);
    interpolate(clips.flatten(0, 1), options).reshape([batch, frames, channels, size[0], size[1]])
}

/// `(x - mean) / std` for each of the three channels of `[batch, frames, 3, height, width]`.
fn normalize(clips: Tensor<5>, mean: [f32; 3], std: [f32; 3]) -> Tensor<5> {
    let device = clips.device();
    let channels = |values: [f32; 3]| Tensor::<1>::from_floats(values, &device);
    let shape = [1, 1, 3, 1, 1];
    (clips - channels(mean).reshape(shape)) / channels(std).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    /// Numbers of `torch.nn.functional.interpolate(.., align_corners=False)` on
    /// `[[0, 1, 4], [9, 16, 25]]`.
    #[test]
    fn stretches_like_pytorch() {
        let clip = Tensor::<5>::from_data(
            TensorData::from([[[[[0.0, 1.0, 4.0], [9.0, 16.0, 25.0]]]]]),
            &Device::flex(),
        );
        let check = |mode, size, expected: Vec<f32>| {
            let stretched = stretch(clip.clone(), size, mode).into_data();
            let expected = TensorData::new(expected, [1, 1, 1, size[0], size[1]]);
            stretched.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
        };
        check(
            InterpolateMode::Bilinear,
            [3, 4],
            vec![
                0.0, 0.625, 2.125, 4.0, 4.5, 7.0, 10.75, 14.5, 9.0, 13.375, 19.375, 25.0,
            ],
        );
        check(
            InterpolateMode::Bicubic,
            [3, 4],
            vec![
                -0.81564, -0.74712, 0.64393, 2.35503, 4.21289, 6.39941, 11.10156, 14.93066,
                9.24142, 13.54595, 21.55919, 27.5063,
            ],
        );
        check(InterpolateMode::Bilinear, [1, 2], vec![5.5, 13.0]);
        check(InterpolateMode::Bicubic, [1, 2], vec![5.19531, 13.28125]);
    }
}
