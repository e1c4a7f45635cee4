use std::ops::RangeInclusive;
use std::path::Path;

use ar_weights::{KeyMap, WeightsError, WeightsSource, load_weights};
use burn::module::Module;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, MaxPoolOptions};
use burn::tensor::{Device, Tensor, activation::relu};

use super::layers::ConvBn2d;
use super::{FeatureExtractor, LayerObserver, stretch};

const EPSILON: f64 = 1e-3;

/// Side of the network's training images.
const SIZE: usize = 299;

const KEYS: KeyMap = KeyMap::new(
    &[
        ("conv2d_1a_3x3.", "Conv2d_1a_3x3."),
        ("conv2d_2a_3x3.", "Conv2d_2a_3x3."),
        ("conv2d_2b_3x3.", "Conv2d_2b_3x3."),
        ("conv2d_3b_1x1.", "Conv2d_3b_1x1."),
        ("conv2d_4a_3x3.", "Conv2d_4a_3x3."),
        ("mixed_5b.", "Mixed_5b."),
        ("mixed_5c.", "Mixed_5c."),
        ("mixed_5d.", "Mixed_5d."),
        ("mixed_6a.", "Mixed_6a."),
        ("mixed_6b.", "Mixed_6b."),
        ("mixed_6c.", "Mixed_6c."),
        ("mixed_6d.", "Mixed_6d."),
        ("mixed_6e.", "Mixed_6e."),
        ("mixed_7a.", "Mixed_7a."),
        ("mixed_7b.", "Mixed_7b."),
        ("mixed_7c.", "Mixed_7c."),
    ],
    &["num_batches_tracked", "fc."],
);

/// Inception-v3 (Szegedy et al., "Rethinking the Inception architecture for computer vision",
/// 2015) as published by TensorFlow on 2015-12-05, whose pooled features FID uses.
///
/// It differs from `torchvision`'s network: averages over windows at the border exclude the padding, and the last block
/// takes maxima where the others average. Every frame is a sample, stretched bilinearly to 299 x 299 and scaled to
/// `[-1, 1]`.
#[derive(Module, Debug)]
pub struct InceptionV3 {
    conv2d_1a_3x3: ConvBn2d,
    conv2d_2a_3x3: ConvBn2d,
    conv2d_2b_3x3: ConvBn2d,
    conv2d_3b_1x1: ConvBn2d,
    conv2d_4a_3x3: ConvBn2d,
    mixed_5b: MixedA,
    mixed_5c: MixedA,
    mixed_5d: MixedA,
    mixed_6a: MixedB,
    mixed_6b: MixedC,
    mixed_6c: MixedC,
    mixed_6d: MixedC,
    mixed_6e: MixedC,
    mixed_7a: MixedD,
    mixed_7b: MixedE,
    mixed_7c: MixedE,
}

impl InceptionV3 {
    /// Features per sample.
    pub const WIDTH: usize = 2048;

    /// Reads the PyTorch conversion of the published weights (`pt_inception-2015-12-05-6726825d.pth`).
    /// The classifier is not used.
    ///
    /// # Errors
    /// If the file is unreadable or does not fit; the message names the tensor.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let mut network = Self {
            conv2d_1a_3x3: strided([3, 32], device),
            conv2d_2a_3x3: ConvBn2d::new([32, 32], [3, 3], 1, [0, 0], EPSILON, device),
            conv2d_2b_3x3: conv([32, 64], [3, 3], device),
            conv2d_3b_1x1: conv([64, 80], [1, 1], device),
            conv2d_4a_3x3: ConvBn2d::new([80, 192], [3, 3], 1, [0, 0], EPSILON, device),
            mixed_5b: MixedA::new(192, 32, device),
            mixed_5c: MixedA::new(256, 64, device),
            mixed_5d: MixedA::new(288, 64, device),
            mixed_6a: MixedB::new(device),
            mixed_6b: MixedC::new(128, device),
            mixed_6c: MixedC::new(160, device),
            mixed_6d: MixedC::new(160, device),
            mixed_6e: MixedC::new(192, device),
            mixed_7a: MixedD::new(device),
            mixed_7b: MixedE::new(1280, device),
            mixed_7c: MixedE::new(2048, device),
        };
        load_weights(&mut network, WeightsSource::File(path), KEYS)?;
        Ok(network)
    }

    /// # Shapes
    /// - `clips`: `[batch, frames, 3, height, width]` in `[0, 1]`
    /// - output: `[batch * frames, 3, 299, 299]` in `[-1, 1]`
    pub fn preprocess(clips: Tensor<5>) -> Tensor<4> {
        let clips = stretch(clips, [SIZE; 2], InterpolateMode::Bilinear) * 2.0 - 1.0;
        clips.flatten(0, 1)
    }

    /// The pooled features, without any preprocessing; `observe` gets the activations of every stage.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]` in `[-1, 1]`, sides of at least 75
    /// - output: `[batch, 2048]`
    pub fn forward(&self, images: Tensor<4>, observe: LayerObserver<'_, 4>) -> Tensor<2> {
        let mut seen = |name: &str, x: Tensor<4>| {
            observe(name, &x);
            x
        };
        // Shapes for 299 x 299.
        let x = seen("Conv2d_1a_3x3", apply(&self.conv2d_1a_3x3, images)); // [batch, 32, 149, 149]
        let x = seen("Conv2d_2a_3x3", apply(&self.conv2d_2a_3x3, x)); // [batch, 32, 147, 147]
        let x = seen("Conv2d_2b_3x3", apply(&self.conv2d_2b_3x3, x)); // [batch, 64, 147, 147]
        let x = max_pool(x); // [batch, 64, 73, 73]
        let x = seen("Conv2d_3b_1x1", apply(&self.conv2d_3b_1x1, x)); // [batch, 80, 73, 73]
        let x = seen("Conv2d_4a_3x3", apply(&self.conv2d_4a_3x3, x)); // [batch, 192, 71, 71]
        let x = max_pool(x); // [batch, 192, 35, 35]
        let x = seen("Mixed_5b", self.mixed_5b.forward(x)); // [batch, 256, 35, 35]
        let x = seen("Mixed_5c", self.mixed_5c.forward(x)); // [batch, 288, 35, 35]
        let x = seen("Mixed_5d", self.mixed_5d.forward(x)); // [batch, 288, 35, 35]
        let x = seen("Mixed_6a", self.mixed_6a.forward(x)); // [batch, 768, 17, 17]
        let x = seen("Mixed_6b", self.mixed_6b.forward(x));
        let x = seen("Mixed_6c", self.mixed_6c.forward(x));
        let x = seen("Mixed_6d", self.mixed_6d.forward(x));
        let x = seen("Mixed_6e", self.mixed_6e.forward(x)); // [batch, 768, 17, 17]
        let x = seen("Mixed_7a", self.mixed_7a.forward(x)); // [batch, 1280, 8, 8]
        let x = seen("Mixed_7b", self.mixed_7b.forward(x, avg_pool_same)); // [batch, 2048, 8, 8]
        let x = seen("Mixed_7c", self.mixed_7c.forward(x, max_pool_same)); // [batch, 2048, 8, 8]
        x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
    }
}

impl FeatureExtractor for InceptionV3 {
    fn width(&self) -> usize {
        Self::WIDTH
    }

    fn frames(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    fn features(&self, clips: Tensor<5>) -> Tensor<2> {
        self.forward(Self::preprocess(clips), &mut |_, _| ())
    }
}

/// Branches of 1 x 1, 5 x 5, twice 3 x 3, and pooling.
#[derive(Module, Debug)]
struct MixedA {
    branch1x1: ConvBn2d,
    branch5x5_1: ConvBn2d,
    branch5x5_2: ConvBn2d,
    branch3x3dbl_1: ConvBn2d,
    branch3x3dbl_2: ConvBn2d,
    branch3x3dbl_3: ConvBn2d,
    branch_pool: ConvBn2d,
}

impl MixedA {
    fn new(channels: usize, pooled: usize, device: &Device) -> Self {
        Self {
            branch1x1: conv([channels, 64], [1, 1], device),
            branch5x5_1: conv([channels, 48], [1, 1], device),
            branch5x5_2: conv([48, 64], [5, 5], device),
            branch3x3dbl_1: conv([channels, 64], [1, 1], device),
            branch3x3dbl_2: conv([64, 96], [3, 3], device),
            branch3x3dbl_3: conv([96, 96], [3, 3], device),
            branch_pool: conv([channels, pooled], [1, 1], device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch5x5 = [&self.branch5x5_1, &self.branch5x5_2];
        let branch3x3dbl = [
            &self.branch3x3dbl_1,
            &self.branch3x3dbl_2,
            &self.branch3x3dbl_3,
        ];
        let branches = vec![
            apply(&self.branch1x1, x.clone()),
            chain(&branch5x5, x.clone()),
            chain(&branch3x3dbl, x.clone()),
            apply(&self.branch_pool, avg_pool_same(x)),
        ];
        Tensor::cat(branches, 1)
    }
}

/// Halves the resolution: branches of 3 x 3, twice 3 x 3, and pooling.
#[derive(Module, Debug)]
struct MixedB {
    branch3x3: ConvBn2d,
    branch3x3dbl_1: ConvBn2d,
    branch3x3dbl_2: ConvBn2d,
    branch3x3dbl_3: ConvBn2d,
}

impl MixedB {
    fn new(device: &Device) -> Self {
        Self {
            branch3x3: strided([288, 384], device),
            branch3x3dbl_1: conv([288, 64], [1, 1], device),
            branch3x3dbl_2: conv([64, 96], [3, 3], device),
            branch3x3dbl_3: strided([96, 96], device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch3x3dbl = [
            &self.branch3x3dbl_1,
            &self.branch3x3dbl_2,
            &self.branch3x3dbl_3,
        ];
        let branches = vec![
            apply(&self.branch3x3, x.clone()),
            chain(&branch3x3dbl, x.clone()),
            max_pool(x),
        ];
        Tensor::cat(branches, 1)
    }
}

/// Branches of 1 x 1, 7 x 7 and twice 7 x 7, each split into a row and a column, and pooling.
#[derive(Module, Debug)]
struct MixedC {
    branch1x1: ConvBn2d,
    branch7x7_1: ConvBn2d,
    branch7x7_2: ConvBn2d,
    branch7x7_3: ConvBn2d,
    branch7x7dbl_1: ConvBn2d,
    branch7x7dbl_2: ConvBn2d,
    branch7x7dbl_3: ConvBn2d,
    branch7x7dbl_4: ConvBn2d,
    branch7x7dbl_5: ConvBn2d,
    branch_pool: ConvBn2d,
}

impl MixedC {
    fn new(inside: usize, device: &Device) -> Self {
        Self {
            branch1x1: conv([768, 192], [1, 1], device),
            branch7x7_1: conv([768, inside], [1, 1], device),
            branch7x7_2: conv([inside, inside], [1, 7], device),
            branch7x7_3: conv([inside, 192], [7, 1], device),
            branch7x7dbl_1: conv([768, inside], [1, 1], device),
            branch7x7dbl_2: conv([inside, inside], [7, 1], device),
            branch7x7dbl_3: conv([inside, inside], [1, 7], device),
            branch7x7dbl_4: conv([inside, inside], [7, 1], device),
            branch7x7dbl_5: conv([inside, 192], [1, 7], device),
            branch_pool: conv([768, 192], [1, 1], device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch7x7 = [&self.branch7x7_1, &self.branch7x7_2, &self.branch7x7_3];
        let branch7x7dbl = [
            &self.branch7x7dbl_1,
            &self.branch7x7dbl_2,
            &self.branch7x7dbl_3,
            &self.branch7x7dbl_4,
            &self.branch7x7dbl_5,
        ];
        let branches = vec![
            apply(&self.branch1x1, x.clone()),
            chain(&branch7x7, x.clone()),
            chain(&branch7x7dbl, x.clone()),
            apply(&self.branch_pool, avg_pool_same(x)),
        ];
        Tensor::cat(branches, 1)
    }
}

/// Halves the resolution: branches of 3 x 3, 7 x 7 and 3 x 3, and pooling.
#[derive(Module, Debug)]
struct MixedD {
    branch3x3_1: ConvBn2d,
    branch3x3_2: ConvBn2d,
    branch7x7x3_1: ConvBn2d,
    branch7x7x3_2: ConvBn2d,
    branch7x7x3_3: ConvBn2d,
    branch7x7x3_4: ConvBn2d,
}

impl MixedD {
    fn new(device: &Device) -> Self {
        Self {
            branch3x3_1: conv([768, 192], [1, 1], device),
            branch3x3_2: strided([192, 320], device),
            branch7x7x3_1: conv([768, 192], [1, 1], device),
            branch7x7x3_2: conv([192, 192], [1, 7], device),
            branch7x7x3_3: conv([192, 192], [7, 1], device),
            branch7x7x3_4: strided([192, 192], device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch3x3 = [&self.branch3x3_1, &self.branch3x3_2];
        let branch7x7x3 = [
            &self.branch7x7x3_1,
            &self.branch7x7x3_2,
            &self.branch7x7x3_3,
            &self.branch7x7x3_4,
        ];
        let branches = vec![
            chain(&branch3x3, x.clone()),
            chain(&branch7x7x3, x.clone()),
            max_pool(x),
        ];
        Tensor::cat(branches, 1)
    }
}

/// Branches of 1 x 1, 3 x 3 and twice 3 x 3, each split into parallel rows and columns, and pooling.
#[derive(Module, Debug)]
struct MixedE {
    branch1x1: ConvBn2d,
    branch3x3_1: ConvBn2d,
    branch3x3_2a: ConvBn2d,
    branch3x3_2b: ConvBn2d,
    branch3x3dbl_1: ConvBn2d,
    branch3x3dbl_2: ConvBn2d,
    branch3x3dbl_3a: ConvBn2d,
    branch3x3dbl_3b: ConvBn2d,
    branch_pool: ConvBn2d,
}

impl MixedE {
    fn new(channels: usize, device: &Device) -> Self {
        Self {
            branch1x1: conv([channels, 320], [1, 1], device),
            branch3x3_1: conv([channels, 384], [1, 1], device),
            branch3x3_2a: conv([384, 384], [1, 3], device),
            branch3x3_2b: conv([384, 384], [3, 1], device),
            branch3x3dbl_1: conv([channels, 448], [1, 1], device),
            branch3x3dbl_2: conv([448, 384], [3, 3], device),
            branch3x3dbl_3a: conv([384, 384], [1, 3], device),
            branch3x3dbl_3b: conv([384, 384], [3, 1], device),
            branch_pool: conv([channels, 192], [1, 1], device),
        }
    }

    fn forward(&self, x: Tensor<4>, pool: fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        let branch3x3 = apply(&self.branch3x3_1, x.clone());
        let branch3x3dbl = chain(&[&self.branch3x3dbl_1, &self.branch3x3dbl_2], x.clone());
        let branches = vec![
            apply(&self.branch1x1, x.clone()),
            apply(&self.branch3x3_2a, branch3x3.clone()),
            apply(&self.branch3x3_2b, branch3x3),
            apply(&self.branch3x3dbl_3a, branch3x3dbl.clone()),
            apply(&self.branch3x3dbl_3b, branch3x3dbl),
            apply(&self.branch_pool, pool(x)),
        ];
        Tensor::cat(branches, 1)
    }
}

/// A layer that keeps height and width.
fn conv(channels: [usize; 2], kernel: [usize; 2], device: &Device) -> ConvBn2d {
    ConvBn2d::new(channels, kernel, 1, kernel.map(|k| k / 2), EPSILON, device)
}

/// A layer of 3 x 3 that halves height and width, without padding.
fn strided(channels: [usize; 2], device: &Device) -> ConvBn2d {
    ConvBn2d::new(channels, [3, 3], 2, [0, 0], EPSILON, device)
}

fn apply(layer: &ConvBn2d, x: Tensor<4>) -> Tensor<4> {
    relu(layer.forward(x))
}

fn chain(layers: &[&ConvBn2d], x: Tensor<4>) -> Tensor<4> {
    layers.iter().fold(x, |x, layer| apply(layer, x))
}

fn max_pool(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]))
}

fn max_pool_same(x: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([3, 3]).with_stride([1, 1]);
    max_pool2d(x, options.with_padding([1, 1]))
}

fn avg_pool_same(x: Tensor<4>) -> Tensor<4> {
    let options = AvgPoolOptions::new([3, 3]).with_stride([1, 1]);
    avg_pool2d(
        x,
        options.with_padding([1, 1]).with_count_include_pad(false),
    )
}
