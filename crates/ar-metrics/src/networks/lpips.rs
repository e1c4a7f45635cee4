use std::path::Path;

use ar_weights::{KeyMap, WeightsError, WeightsSource, load_weights};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Tensor, assert_shape};

use super::{AlexNet, Vgg16};

/// Mean and standard deviation of each channel of ImageNet, for images in `[-1, 1]`, as in LPIPS
/// 0.1.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// Keeps the length of a feature vector, and its gradient, away from zero.
const SQUARED_EPSILON: f64 = 1e-20;

const KEYS: KeyMap = KeyMap::new(
    &[
        ("channels.0.", "lin0.model.1."),
        ("channels.1.", "lin1.model.1."),
        ("channels.2.", "lin2.model.1."),
        ("channels.3.", "lin3.model.1."),
        ("channels.4.", "lin4.model.1."),
    ],
    &[],
);

/// Learned perceptual image patch similarity, version 0.1 (Zhang et al., "The unreasonable
/// effectiveness of deep features as a perceptual metric", 2018): 0 for equal images, and larger
/// the less alike they look. It compares features of VGG16, or of AlexNet; the two distances cannot
/// be compared with each other.
///
/// The parameters are frozen. On an autodiff device the distance is differentiable with respect to
/// the images, so it can serve as a loss.
#[derive(Module, Debug)]
pub struct Lpips {
    network: Backbone,
    linear: Linear,
}

/// The network whose features are compared.
#[derive(Module, Debug)]
enum Backbone {
    Vgg16(Vgg16),
    AlexNet(AlexNet),
}

/// A weight for each channel, by stage.
#[derive(Module, Debug)]
struct Linear {
    channels: Vec<Conv2d>,
}

impl Lpips {
    /// On VGG16: reads its weights (see [`Vgg16::load`]) and the weights of LPIPS's own linear layers
    /// (`weights/v0.1/vgg.pth`).
    ///
    /// # Errors
    /// If a file is unreadable or does not fit; the message names the tensor.
    pub fn vgg16(
        vgg: impl AsRef<Path>,
        linear: impl AsRef<Path>,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let network = Backbone::Vgg16(Vgg16::load(vgg, device)?);
        Self::new(network, Vgg16::CHANNELS, linear.as_ref(), device)
    }

    /// On AlexNet: reads its weights (see [`AlexNet::load`]) and the weights of LPIPS's own linear layers
    /// (`weights/v0.1/alex.pth`).
    ///
    /// # Errors
    /// As [`vgg16`](Self::vgg16).
    pub fn alexnet(
        alexnet: impl AsRef<Path>,
        linear: impl AsRef<Path>,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let network = Backbone::AlexNet(AlexNet::load(alexnet, device)?);
        Self::new(network, AlexNet::CHANNELS, linear.as_ref(), device)
    }

    fn new(
        network: Backbone,
        channels: [usize; 5],
        linear: &Path,
        device: &Device,
    ) -> Result<Self, WeightsError> {
        let weigh = |channels| {
            Conv2dConfig::new([channels, 1], [1, 1])
                .with_bias(false)
                .init(device)
        };
        let mut lpips = Self {
            network,
            linear: Linear {
                channels: channels.map(weigh).into(),
            },
        };
        load_weights(&mut lpips.linear, WeightsSource::File(linear), KEYS)?;
        Ok(lpips.freeze())
    }

    /// # Shapes
    /// - `a`, `b`: `[batch, 3, height, width]` in `[-1, 1]`, sides of at least 16 (VGG16) or 31
    ///   (AlexNet)
    /// - output: `[batch]`
    pub fn forward(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
        self.stages(a, b)
            .into_iter()
            .reduce(|sum, stage| sum + stage)
            .expect("five stages")
    }

    /// The contribution of each stage to the distance: the squared difference of unit feature
    /// vectors, weighted by channel and averaged over the plane.
    ///
    /// # Shapes
    /// As [`forward`](Self::forward), five times.
    pub fn stages(&self, a: Tensor<4>, b: Tensor<4>) -> [Tensor<1>; 5] {
        assert_shape!(a, [_, 3, _, _]);
        let a = self.network.forward(standardize(a));
        let mut pairs = a.into_iter().zip(self.network.forward(standardize(b)));
        std::array::from_fn(|stage| {
            let (a, b) = pairs.next().expect("five stages");
            let difference = unit(a) - unit(b); // [batch, channels, rows, columns]
            let weighed = self.linear.channels[stage].forward(difference.powi_scalar(2)); // [batch, 1, ..]
            weighed.flatten::<2>(1, 3).mean_dim(1).squeeze_dim(1)
        })
    }
}

impl Backbone {
    fn forward(&self, images: Tensor<4>) -> [Tensor<4>; 5] {
        match self {
            Self::Vgg16(vgg) => vgg.forward(images),
            Self::AlexNet(alexnet) => alexnet.forward(images),
        }
    }
}

fn standardize(images: Tensor<4>) -> Tensor<4> {
    let device = images.device();
    let channels =
        |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1, 3, 1, 1]);
    (images - channels(SHIFT)) / channels(SCALE)
}

/// Feature vectors of length 1.
fn unit(features: Tensor<4>) -> Tensor<4> {
    let squares = features.clone().powi_scalar(2).sum_dim(1);
    features / (squares + SQUARED_EPSILON).sqrt()
}
