use std::ops::RangeInclusive;
use std::path::Path;

use ar_weights::{KeyMap, WeightsError, WeightsSource, load_weights};
use burn::module::Module;
use burn::tensor::ops::InterpolateMode;
use burn::tensor::{Device, Tensor, activation::relu};

use super::layers::{ConvBn3d, max_pool3d};
use super::{FeatureExtractor, LayerObserver, assert_frames, normalize, stretch};

const EPSILON: f64 = 1e-5;

/// Side of the network's training frames.
const SIZE: usize = 112;

/// Mean and standard deviation of each channel of Kinetics, in `[0, 1]`, as published by the
/// network's authors.
const MEAN: [f32; 3] = [0.4345, 0.4051, 0.3775];
const STD: [f32; 3] = [0.2768, 0.2713, 0.2737];

/// Number of blocks in each layer, and channels inside them.
const LAYERS: [(usize, usize); 4] = [(3, 64), (4, 128), (6, 256), (3, 512)];

/// A block has this many times more channels outside than inside.
const EXPANSION: usize = 4;

const KEYS: KeyMap = KeyMap::new(
    &[
        ("conv1.conv.", "conv1."),
        ("conv2.conv.", "conv2."),
        ("conv3.conv.", "conv3."),
        ("conv1.bn.", "bn1."),
        ("conv2.bn.", "bn2."),
        ("conv3.bn.", "bn3."),
        ("downsample.conv.", "downsample.0."),
        ("downsample.bn.", "downsample.1."),
    ],
    &["num_batches_tracked", "fc."],
);

/// The 3D ResNet-50 (Hara et al., "Can spatiotemporal 3D CNNs retrace the history of 2D CNNs and
/// ImageNet?", 2018), trained on Kinetics. The video variant of FID uses its pooled
/// features.
///
/// Clips are stretched bilinearly to 112 x 112 and standardised with the statistics of Kinetics.
/// Publications differ in both, and in the checkpoint; only figures that were computed in the same
/// way can be compared.
#[derive(Module, Debug)]
pub struct ResNet3d {
    conv1: ConvBn3d,
    layer1: Vec<Bottleneck>,
    layer2: Vec<Bottleneck>,
    layer3: Vec<Bottleneck>,
    layer4: Vec<Bottleneck>,
}

impl ResNet3d {
    /// Features per sample.
    pub const WIDTH: usize = 512 * EXPANSION;

    /// Reads the weights of the authors' PyTorch checkpoints (`r3d50_K_200ep.pth` and
    /// `resnet-50-kinetics.pth`). The classifier is not used.
    ///
    /// # Errors
    /// If the file is unreadable or does not fit; the message names the tensor.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let mut channels = 64;
        let mut layer = |index: usize| -> Vec<Bottleneck> {
            let (blocks, inside) = LAYERS[index];
            let blocks = (0..blocks).map(|block| {
                let stride = if block == 0 && index > 0 { 2 } else { 1 };
                let block = Bottleneck::new(channels, inside, stride, device);
                channels = EXPANSION * inside;
                block
            });
            blocks.collect()
        };
        let mut network = Self {
            conv1: ConvBn3d::new([3, 64], 7, [1, 2, 2], 3, EPSILON, device),
            layer1: layer(0),
            layer2: layer(1),
            layer3: layer(2),
            layer4: layer(3),
        };
        load_weights(&mut network, WeightsSource::File(path), KEYS)?;
        Ok(network)
    }

    /// # Shapes
    /// - `clips`: `[batch, frames, 3, height, width]` in `[0, 1]`
    /// - output: `[batch, 3, frames, 112, 112]`, standardised
    pub fn preprocess(clips: Tensor<5>) -> Tensor<5> {
        let clips = stretch(clips, [SIZE; 2], InterpolateMode::Bilinear);
        normalize(clips, MEAN, STD).swap_dims(1, 2)
    }

    /// The pooled features, without any preprocessing; `observe` gets the activations of every
    /// stage.
    ///
    /// # Shapes
    /// - `clips`: `[batch, 3, frames, height, width]`, standardised
    /// - output: `[batch, 2048]`
    pub fn forward(&self, clips: Tensor<5>, observe: LayerObserver<'_, 5>) -> Tensor<2> {
        let x = relu(self.conv1.forward(clips)); // [batch, 64, f, h / 2, w / 2]
        observe("conv1", &x);
        let mut x = max_pool3d(x, [3; 3], [2; 3], [(1, 1); 3]); // [batch, 64, f / 2, h / 4, w / 4]
        for (name, layer) in [
            ("layer1", &self.layer1), // [batch, 256, f / 2, h / 4, w / 4]
            ("layer2", &self.layer2), // [batch, 512, f / 4, h / 8, w / 8]
            ("layer3", &self.layer3), // [batch, 1024, f / 8, h / 16, w / 16]
            ("layer4", &self.layer4), // [batch, 2048, f / 16, h / 32, w / 32]
        ] {
            x = layer.iter().fold(x, |x, block| block.forward(x));
            observe(name, &x);
        }
        x.flatten::<3>(2, 4).mean_dim(2).squeeze_dim(2)
    }
}

impl FeatureExtractor for ResNet3d {
    fn width(&self) -> usize {
        Self::WIDTH
    }

    fn frames(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    fn features(&self, clips: Tensor<5>) -> Tensor<2> {
        assert_frames(self, &clips);
        self.forward(Self::preprocess(clips), &mut |_, _| ())
    }
}

/// A 3 x 3 x 3 convolution between two 1 x 1 x 1 ones, around a residual.
#[derive(Module, Debug)]
struct Bottleneck {
    conv1: ConvBn3d,
    conv2: ConvBn3d,
    conv3: ConvBn3d,
    /// Only where the shape changes.
    downsample: Option<ConvBn3d>,
}

impl Bottleneck {
    fn new(channels: usize, inside: usize, stride: usize, device: &Device) -> Self {
        let conv = |channels, kernel: usize, stride: usize| {
            ConvBn3d::new(channels, kernel, [stride; 3], kernel / 2, EPSILON, device)
        };
        let out = EXPANSION * inside;
        let same_shape = channels == out && stride == 1;
        Self {
            conv1: conv([channels, inside], 1, 1),
            conv2: conv([inside, inside], 3, stride),
            conv3: conv([inside, out], 1, 1),
            downsample: (!same_shape).then(|| conv([channels, out], 1, stride)),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let hidden = relu(self.conv1.forward(x.clone()));
        let hidden = relu(self.conv2.forward(hidden));
        let residual = match &self.downsample {
            Some(downsample) => downsample.forward(x),
            None => x,
        };
        relu(self.conv3.forward(hidden) + residual)
    }
}
