use std::path::Path;

use ar_weights::{KeyMap, WeightsError, WeightsSource, load_weights};
use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, activation::relu, module::max_pool2d, ops::MaxPoolOptions};

/// Channels of the convolutions in each stage; stages are separated by pooling.
const STAGES: [&[usize]; 5] = [
    &[64, 64],
    &[128, 128],
    &[256, 256, 256],
    &[512, 512, 512],
    &[512, 512, 512],
];

/// `torchvision`'s `vgg16`: convolutions are numbered among activations and poolings. The
/// classifier is not used.
const KEYS: KeyMap = KeyMap::new(
    &[
        ("convs.0.", "features.0."),
        ("convs.1.", "features.2."),
        ("convs.2.", "features.5."),
        ("convs.3.", "features.7."),
        ("convs.4.", "features.10."),
        ("convs.5.", "features.12."),
        ("convs.6.", "features.14."),
        ("convs.7.", "features.17."),
        ("convs.8.", "features.19."),
        ("convs.9.", "features.21."),
        ("convs.10.", "features.24."),
        ("convs.11.", "features.26."),
        ("convs.12.", "features.28."),
    ],
    &["classifier."],
);

/// The convolutions of VGG16 (Simonyan and Zisserman, "Very deep convolutional networks for
/// large-scale image recognition", 2014, configuration D).
#[derive(Module, Debug)]
pub struct Vgg16 {
    convs: Vec<Conv2d>,
}

impl Vgg16 {
    /// Channels of the features of each stage.
    pub const CHANNELS: [usize; 5] = [64, 128, 256, 512, 512];

    /// Reads `torchvision`'s weights (`vgg16-397923af.pth`).
    ///
    /// # Errors
    /// If the file is unreadable or does not fit; the message names the tensor.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let mut channels = 3;
        let convs = STAGES.concat().into_iter().map(|out| {
            let conv = Conv2dConfig::new([channels, out], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
            channels = out;
            conv.init(device)
        });
        let mut network = Self {
            convs: convs.collect(),
        };
        load_weights(&mut network, WeightsSource::File(path), KEYS)?;
        Ok(network)
    }

    /// The activations after the last convolution of each stage (`relu1_2`, `relu2_2`, `relu3_3`,
    /// `relu4_3`, `relu5_3`).
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised, sides of at least 16
    /// - output: `[batch, 64, height, width]`, `[batch, 128, height / 2, width / 2]`,
    ///   `[batch, 256, height / 4, ..]`, `[batch, 512, height / 8, ..]`, `[batch, 512, height / 16, ..]`
    pub fn forward(&self, images: Tensor<4>) -> [Tensor<4>; 5] {
        let mut convs = self.convs.iter();
        let mut x = images;
        std::array::from_fn(|stage| {
            if stage > 0 {
                x = max_pool2d(x.clone(), MaxPoolOptions::new([2, 2]));
            }
            for conv in convs.by_ref().take(STAGES[stage].len()) {
                x = relu(conv.forward(x.clone()));
            }
            x.clone()
        })
    }
}
