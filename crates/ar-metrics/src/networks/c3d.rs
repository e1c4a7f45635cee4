use std::ops::RangeInclusive;
use std::path::Path;

use ar_weights::{KeyMap, WeightsError, WeightsSource, load_weights};
use burn::module::Module;
use burn::nn::conv::{Conv3d, Conv3dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig3d};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::ops::InterpolateMode;
use burn::tensor::{Device, Tensor};

use super::layers::max_pool3d;
use super::{FeatureExtractor, LayerObserver, assert_frames, normalize, stretch};

const FRAMES: usize = 16;

/// Frames are stretched to squares of this side, and cropped to the middle.
const STRETCHED: usize = 128;
const SIZE: usize = 112;

/// Mean of each channel, blue first, over the network's training frames, in `[0, 255]`.
const MEAN_BGR: [f32; 3] = [90.251_65, 97.657_01, 101.408_32];

/// Classes of UCF-101.
const CLASSES: usize = 101;

/// C3D (Tran et al., "Learning spatiotemporal features with 3D convolutional networks", 2015),
/// fine-tuned on UCF-101. Its class probabilities are used for the inception score of videos (Saito
/// et al., "Temporal generative adversarial nets with singular value clipping", 2017).
///
/// Clips of 16 frames are stretched bicubically to 128 x 128; the mean is subtracted in `[0, 255]`,
/// and they are cropped to the middle 112 x 112, blue first. There is one mean for each channel;
/// the original protocol has one for each pixel.
#[derive(Module, Debug)]
pub struct C3d {
    conv1: Conv3d,
    conv2: Conv3d,
    conv3a: Conv3d,
    conv3b: Conv3d,
    conv4a: Conv3d,
    conv4b: Conv3d,
    conv5a: Conv3d,
    conv5b: Conv3d,
    fc6: Linear,
    fc7: Linear,
    fc8: Linear,
}

impl C3d {
    /// Features per sample.
    pub const WIDTH: usize = CLASSES;

    /// Reads weights under the keys `conv1`, `conv2`, `conv3a` to `conv5b` and `fc6` to `fc8`, as
    /// PyTorch conversions of the published network have them.
    ///
    /// # Errors
    /// If the file is unreadable or does not fit; the message names the tensor.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let conv = |channels| {
            Conv3dConfig::new(channels, [3; 3])
                .with_padding(PaddingConfig3d::Explicit(1, 1, 1))
                .init(device)
        };
        let mut network = Self {
            conv1: conv([3, 64]),
            conv2: conv([64, 128]),
            conv3a: conv([128, 256]),
            conv3b: conv([256, 256]),
            conv4a: conv([256, 512]),
            conv4b: conv([512, 512]),
            conv5a: conv([512, 512]),
            conv5b: conv([512, 512]),
            fc6: LinearConfig::new(512 * 4 * 4, 4096).init(device),
            fc7: LinearConfig::new(4096, 4096).init(device),
            fc8: LinearConfig::new(4096, CLASSES).init(device),
        };
        let keys = KeyMap::new(&[], &[]);
        load_weights(&mut network, WeightsSource::File(path), keys)?;
        Ok(network)
    }

    /// # Shapes
    /// - `clips`: `[batch, 16, 3, height, width]` in `[0, 1]`
    /// - output: `[batch, 3, 16, 112, 112]`, blue first, minus the mean
    pub fn preprocess(clips: Tensor<5>) -> Tensor<5> {
        let clips = stretch(clips, [STRETCHED; 2], InterpolateMode::Bicubic);
        let clips = normalize(clips.flip([2]) * 255.0, MEAN_BGR, [1.0; 3]);
        let margin = (STRETCHED - SIZE) / 2;
        let clips = clips.narrow(3, margin, SIZE).narrow(4, margin, SIZE);
        clips.swap_dims(1, 2)
    }

    /// The class probabilities, without any preprocessing; `observe` gets the activations of every
    /// stage.
    ///
    /// # Shapes
    /// - `clips`: `[batch, 3, 16, 112, 112]`, blue first, minus the mean
    /// - output: `[batch, 101]`
    pub fn forward(&self, clips: Tensor<5>, observe: LayerObserver<'_, 5>) -> Tensor<2> {
        let mut seen = |name: &str, x: Tensor<5>| {
            observe(name, &x);
            x
        };
        let conv = |layer: &Conv3d, x| relu(layer.forward(x));
        // The last plane of 7 x 7 is covered by 4 x 4 windows, which extend past its far edges.
        let none = [(0, 0); 3];
        let far = [(0, 0), (0, 1), (0, 1)];
        let x = seen("conv1", conv(&self.conv1, clips)); // [batch, 64, 16, 112, 112]
        let x = max_pool3d(x, [1, 2, 2], [1, 2, 2], none);
        let x = seen("conv2", conv(&self.conv2, x)); // [batch, 128, 16, 56, 56]
        let x = max_pool3d(x, [2; 3], [2; 3], none);
        let x = seen("conv3a", conv(&self.conv3a, x));
        let x = seen("conv3b", conv(&self.conv3b, x)); // [batch, 256, 8, 28, 28]
        let x = max_pool3d(x, [2; 3], [2; 3], none);
        let x = seen("conv4a", conv(&self.conv4a, x));
        let x = seen("conv4b", conv(&self.conv4b, x)); // [batch, 512, 4, 14, 14]
        let x = max_pool3d(x, [2; 3], [2; 3], none);
        let x = seen("conv5a", conv(&self.conv5a, x));
        let x = seen("conv5b", conv(&self.conv5b, x)); // [batch, 512, 2, 7, 7]
        let x = max_pool3d(x, [2; 3], [2; 3], far); // [batch, 512, 1, 4, 4]
        let x = relu(self.fc6.forward(x.flatten::<2>(1, 4))); // [batch, 4096]
        let x = relu(self.fc7.forward(x));
        softmax(self.fc8.forward(x), 1)
    }
}

impl FeatureExtractor for C3d {
    fn width(&self) -> usize {
        Self::WIDTH
    }

    fn frames(&self) -> RangeInclusive<usize> {
        FRAMES..=FRAMES
    }

    /// The features are class probabilities.
    fn features(&self, clips: Tensor<5>) -> Tensor<2> {
        assert_frames(self, &clips);
        self.forward(Self::preprocess(clips), &mut |_, _| ())
    }
}
