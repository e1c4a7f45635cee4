use std::path::Path;

use ar_weights::{KeyMap, WeightsError, WeightsSource, load_weights};
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, activation::relu, module::max_pool2d, ops::MaxPoolOptions};

/// Output channels, kernel size, stride and padding of each convolution.
const CONVS: [(usize, usize, usize, usize); 5] = [
    (64, 11, 4, 2),
    (192, 5, 1, 2),
    (384, 3, 1, 1),
    (256, 3, 1, 1),
    (256, 3, 1, 1),
];

/// Stages that a pooling comes before.
const POOLED: [usize; 2] = [1, 2];

/// `torchvision`'s `alexnet`: convolutions are numbered among activations and poolings. The
/// classifier is not used.
const KEYS: KeyMap = KeyMap::new(
    &[
        ("convs.0.", "features.0."),
        ("convs.1.", "features.3."),
        ("convs.2.", "features.6."),
        ("convs.3.", "features.8."),
        ("convs.4.", "features.10."),
    ],
    &["classifier."],
);

/// The convolutions of AlexNet (Krizhevsky, "One weird trick for parallelizing convolutional neural
/// networks", 2014).
#[derive(Module, Debug)]
pub struct AlexNet {
    convs: Vec<Conv2d>,
}

impl AlexNet {
    /// Channels of the features of each stage.
    pub const CHANNELS: [usize; 5] = [64, 192, 384, 256, 256];

    /// Reads `torchvision`'s weights (`alexnet-owt-7be5be79.pth`).
    ///
    /// # Errors
    /// If the file is unreadable or does not fit; the message names the tensor.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, WeightsError> {
        let mut channels = 3;
        let convs = CONVS.map(|(out, kernel, stride, padding)| {
            let conv = Conv2dConfig::new([channels, out], [kernel, kernel])
                .with_stride([stride, stride])
                .with_padding(PaddingConfig2d::Explicit(
                    padding, padding, padding, padding,
                ));
            channels = out;
            conv.init(device)
        });
        let mut network = Self {
            convs: convs.into(),
        };
        load_weights(&mut network, WeightsSource::File(path.as_ref()), KEYS)?;
        Ok(network)
    }

    /// The activations after each convolution (`relu1` to `relu5`).
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised, sides of at least 31
    /// - output: `[batch, 64, (height - 3) / 4, ..]`; from there, about half of that for
    ///   `[batch, 192, ..]`, and half again for `[batch, 384, ..]`, `[batch, 256, ..]` and
    ///   `[batch, 256, ..]`
    pub fn forward(&self, images: Tensor<4>) -> [Tensor<4>; 5] {
        let mut x = images;
        std::array::from_fn(|stage| {
            if POOLED.contains(&stage) {
                let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]);
                x = max_pool2d(x.clone(), options);
            }
            x = relu(self.convs[stage].forward(x.clone()));
            x.clone()
        })
    }
}
