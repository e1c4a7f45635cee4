use std::ops::RangeInclusive;
use std::path::Path;

use ar_weights::{KeyMap, WeightsError, WeightsSource, load_weights};
use burn::module::Module;
use burn::nn::conv::{Conv3d, Conv3dConfig};
use burn::tensor::ops::{InterpolateMode, PadMode};
use burn::tensor::{Device, Tensor, activation::relu};

use super::layers::{ConvBn3d, max_pool3d, same_padding};
use super::{FeatureExtractor, LayerObserver, assert_frames, stretch};

const EPSILON: f64 = 1e-3;

/// Side of the network's training frames.
const SIZE: usize = 224;

/// Classes of Kinetics-400.
const CLASSES: usize = 400;

const KEYS: KeyMap = KeyMap::new(
    &[
        ("conv.", "conv3d."),
        ("conv3d_1a_7x7.", "Conv3d_1a_7x7."),
        ("conv3d_2b_1x1.", "Conv3d_2b_1x1."),
        ("conv3d_2c_3x3.", "Conv3d_2c_3x3."),
        ("mixed_3b.", "Mixed_3b."),
        ("mixed_3c.", "Mixed_3c."),
        ("mixed_4b.", "Mixed_4b."),
        ("mixed_4c.", "Mixed_4c."),
        ("mixed_4d.", "Mixed_4d."),
        ("mixed_4e.", "Mixed_4e."),
        ("mixed_4f.", "Mixed_4f."),
        ("mixed_5b.", "Mixed_5b."),
        ("mixed_5c.", "Mixed_5c."),
    ],
    &["num_batches_tracked"],
);

/// I3D on RGB frames (Carreira and Zisserman, "Quo vadis, action recognition?", 2017), trained on
/// Kinetics-400. Its logits, averaged over time, are the features of FVD (Unterthiner et al.,
/// "Towards accurate generative models of video", 2018).
///
/// Clips are stretched bicubically to 224 x 224 and scaled to `[-1, 1]`. The network reduces
/// sixteen frames to about two time steps, so a clip needs at least nine frames.
#[derive(Module, Debug)]
pub struct I3d {
    conv3d_1a_7x7: ConvBn3d,
    conv3d_2b_1x1: ConvBn3d,
    conv3d_2c_3x3: ConvBn3d,
    mixed_3b: Mixed,
    mixed_3c: Mixed,
    mixed_4b: Mixed,
    mixed_4c: Mixed,
    mixed_4d: Mixed,
    mixed_4e: Mixed,
    mixed_4f: Mixed,
    mixed_5b: Mixed,
    mixed_5c: Mixed,
    logits: Logits,
}

impl I3d {
    /// Features per sample.
    pub const WIDTH: usize = CLASSES;

    /// Reads the weights of the PyTorch port of the published network (`rgb_imagenet.pt`, also
    /// distributed as `i3d_pretrained_400.pt`).
    ///
    /// # Errors
    /// If the file is unreadable or does not fit; the message names the tensor.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let conv = |channels, kernel: usize, stride, padding| {
            ConvBn3d::new(channels, kernel, [stride; 3], padding, EPSILON, device)
        };
        let mixed = |channels, branches| Mixed::new(channels, branches, device);
        let mut network = Self {
            conv3d_1a_7x7: conv([3, 64], 7, 2, 0),
            conv3d_2b_1x1: conv([64, 64], 1, 1, 0),
            conv3d_2c_3x3: conv([64, 192], 3, 1, 1),
            mixed_3b: mixed(192, [64, 96, 128, 16, 32, 32]),
            mixed_3c: mixed(256, [128, 128, 192, 32, 96, 64]),
            mixed_4b: mixed(480, [192, 96, 208, 16, 48, 64]),
            mixed_4c: mixed(512, [160, 112, 224, 24, 64, 64]),
            mixed_4d: mixed(512, [128, 128, 256, 24, 64, 64]),
            mixed_4e: mixed(512, [112, 144, 288, 32, 64, 64]),
            mixed_4f: mixed(528, [256, 160, 320, 32, 128, 128]),
            mixed_5b: mixed(832, [256, 160, 320, 32, 128, 128]),
            mixed_5c: mixed(832, [384, 192, 384, 48, 128, 128]),
            logits: Logits {
                conv: Conv3dConfig::new([1024, CLASSES], [1; 3]).init(device),
            },
        };
        load_weights(&mut network, WeightsSource::File(path), KEYS)?;
        Ok(network)
    }

    /// # Shapes
    /// - `clips`: `[batch, frames, 3, height, width]` in `[0, 1]`
    /// - output: `[batch, 3, frames, 224, 224]` in `[-1, 1]`, up to overshoots
    pub fn preprocess(clips: Tensor<5>) -> Tensor<5> {
        let clips = stretch(clips, [SIZE; 2], InterpolateMode::Bicubic) * 2.0 - 1.0;
        clips.swap_dims(1, 2)
    }

    /// The logits averaged over time, without any preprocessing; `observe` gets the activations of
    /// every stage.
    ///
    /// # Shapes
    /// - `clips`: `[batch, 3, frames, height, width]` in `[-1, 1]`, at least 9 frames
    /// - output: `[batch, 400]`
    pub fn forward(&self, clips: Tensor<5>, observe: LayerObserver<'_, 5>) -> Tensor<2> {
        let mut seen = |name: &str, x: Tensor<5>| {
            observe(name, &x);
            x
        };
        let padding = same(&clips, [7; 3], [2; 3]);
        let x = clips.pad(padding, PadMode::Constant(0.0));
        let x = seen("Conv3d_1a_7x7", relu(self.conv3d_1a_7x7.forward(x))); // [batch, 64, f / 2, 112, 112]
        let x = max_pool_same(x, [1, 3, 3], [1, 2, 2]); // [.., f / 2, 56, 56]
        let x = seen("Conv3d_2b_1x1", relu(self.conv3d_2b_1x1.forward(x)));
        let x = seen("Conv3d_2c_3x3", relu(self.conv3d_2c_3x3.forward(x))); // [batch, 192, ..]
        let x = max_pool_same(x, [1, 3, 3], [1, 2, 2]); // [.., f / 2, 28, 28]
        let x = seen("Mixed_3b", self.mixed_3b.forward(x));
        let x = seen("Mixed_3c", self.mixed_3c.forward(x)); // [batch, 480, ..]
        let x = max_pool_same(x, [3; 3], [2; 3]); // [.., f / 4, 14, 14]
        let x = seen("Mixed_4b", self.mixed_4b.forward(x));
        let x = seen("Mixed_4c", self.mixed_4c.forward(x));
        let x = seen("Mixed_4d", self.mixed_4d.forward(x));
        let x = seen("Mixed_4e", self.mixed_4e.forward(x));
        let x = seen("Mixed_4f", self.mixed_4f.forward(x)); // [batch, 832, ..]
        let x = max_pool_same(x, [2; 3], [2; 3]); // [.., f / 8, 7, 7]
        let x = seen("Mixed_5b", self.mixed_5b.forward(x));
        let x = seen("Mixed_5c", self.mixed_5c.forward(x)); // [batch, 1024, f / 8, 7, 7]
        self.logits.forward(x)
    }
}

impl FeatureExtractor for I3d {
    fn width(&self) -> usize {
        Self::WIDTH
    }

    fn frames(&self) -> RangeInclusive<usize> {
        9..=usize::MAX
    }

    fn features(&self, clips: Tensor<5>) -> Tensor<2> {
        assert_frames(self, &clips);
        self.forward(Self::preprocess(clips), &mut |_, _| ())
    }
}

/// Four parallel branches: 1 x 1, two of 3 x 3 after a 1 x 1, and a 1 x 1 after pooling.
#[derive(Module, Debug)]
struct Mixed {
    b0: ConvBn3d,
    b1a: ConvBn3d,
    b1b: ConvBn3d,
    b2a: ConvBn3d,
    b2b: ConvBn3d,
    b3b: ConvBn3d,
}

impl Mixed {
    fn new(channels: usize, branches: [usize; 6], device: &Device) -> Self {
        let [b0, b1a, b1b, b2a, b2b, b3b] = branches;
        let conv =
            |channels, kernel| ConvBn3d::new(channels, kernel, [1; 3], kernel / 2, EPSILON, device);
        Self {
            b0: conv([channels, b0], 1),
            b1a: conv([channels, b1a], 1),
            b1b: conv([b1a, b1b], 3),
            b2a: conv([channels, b2a], 1),
            b2b: conv([b2a, b2b], 3),
            b3b: conv([channels, b3b], 1),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let conv = |layer: &ConvBn3d, x| relu(layer.forward(x));
        let b0 = conv(&self.b0, x.clone());
        let b1 = conv(&self.b1b, conv(&self.b1a, x.clone()));
        let b2 = conv(&self.b2b, conv(&self.b2a, x.clone()));
        let b3 = conv(&self.b3b, max_pool_same(x, [3; 3], [1; 3]));
        Tensor::cat(vec![b0, b1, b2, b3], 1)
    }
}

#[derive(Module, Debug)]
struct Logits {
    conv: Conv3d,
}

impl Logits {
    /// Averages over the plane and over pairs of neighbouring times, applies the last layer, and
    /// averages over time.
    fn forward(&self, x: Tensor<5>) -> Tensor<2> {
        let [_, _, time, _, _] = x.dims();
        let x = x.mean_dim(3).mean_dim(4); // [batch, 1024, time, 1, 1]
        let pairs = (x.clone().narrow(2, 0, time - 1) + x.narrow(2, 1, time - 1)) / 2.0;
        let logits = self.conv.forward(pairs); // [batch, 400, time - 1, 1, 1]
        logits.mean_dim(2).flatten::<2>(1, 4)
    }
}

/// TensorFlow's padding `SAME` for time, height and width.
fn same(x: &Tensor<5>, kernel: [usize; 3], stride: [usize; 3]) -> [(usize, usize); 3] {
    let [_, _, sizes @ ..] = x.dims();
    std::array::from_fn(|axis| same_padding(sizes[axis], kernel[axis], stride[axis]))
}

fn max_pool_same(x: Tensor<5>, kernel: [usize; 3], stride: [usize; 3]) -> Tensor<5> {
    let padding = same(&x, kernel, stride);
    max_pool3d(x, kernel, stride, padding)
}
