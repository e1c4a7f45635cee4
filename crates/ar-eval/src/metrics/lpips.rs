use std::path::Path;

use ar_metrics::networks;
use ar_weights::WeightsError;
use burn::tensor::Device;

use crate::metric::check_size;
use crate::{
    ClipMeter, ClipMetric, ClipTraits, Column, EvaluationError, Load, MetricInfo, Network,
};

/// Learned perceptual image patch similarity on one network, the mean over pairs of frames.
pub(super) struct Lpips {
    name: &'static str,
    help: &'static str,
    /// The network, and the linear layers of LPIPS for it.
    networks: &'static [Network; 2],
    load: fn(&Path, &Path, &Device) -> Result<networks::Lpips, WeightsError>,
    /// The smallest width and height for the network's stages.
    size: usize,
    key: &'static [&'static str],
    column: &'static [Column],
}

/// As in training.
pub(super) const ON_VGG16: Lpips = Lpips {
    name: "lpips",
    help: "Learned perceptual image patch similarity on VGG16, of clips with a ground truth",
    networks: &[
        Network {
            name: "vgg16",
            published: "vgg16-397923af.pth",
        },
        Network {
            name: "lpips",
            published: "LPIPS's weights/v0.1/vgg.pth",
        },
    ],
    load: |network, linear, device| networks::Lpips::vgg16(network, linear, device),
    size: 16,
    key: &["lpips"],
    column: &[Column {
        name: "LPIPS, VGG16",
        figure: |row| Some(format!("{:.4}", row.number("lpips")?)),
    }],
};

/// As published for VAEs.
pub(super) const ON_ALEXNET: Lpips = Lpips {
    name: "lpips-alex",
    help: "The same on AlexNet, as published for VAEs",
    networks: &[
        Network {
            name: "alexnet",
            published: "alexnet-owt-7be5be79.pth",
        },
        Network {
            name: "lpips-alex",
            published: "LPIPS's weights/v0.1/alex.pth",
        },
    ],
    load: |network, linear, device| networks::Lpips::alexnet(network, linear, device),
    size: 31,
    key: &["lpips_alex"],
    column: &[Column {
        name: "LPIPS, AlexNet",
        figure: |row| Some(format!("{:.4}", row.number("lpips_alex")?)),
    }],
};

impl MetricInfo for Lpips {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn networks(&self) -> &'static [Network] {
        self.networks
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        check_size(clips, self.size)
    }

    fn keys(&self) -> &'static [&'static str] {
        self.key
    }

    fn columns(&self) -> &'static [Column] {
        self.column
    }
}

impl ClipMetric for Lpips {
    fn load(&self, load: &Load<'_>) -> Result<ClipMeter, EvaluationError> {
        let [network, linear] = self
            .networks
            .each_ref()
            .map(|network| load.networks.path(network));
        let network = (self.load)(network, linear, load.device)?;
        Ok(Box::new(move |clip| {
            let (frames, truth) = clip.compared()?;
            // The published network expects [-1, 1].
            let images = |frames| clip.pixels(frames).squeeze_dim::<4>(0) * 2 - 1;
            let distances = network.forward(images(frames), images(truth));
            Some(f64::from(distances.mean().into_scalar::<f32>()).into())
        }))
    }
}
