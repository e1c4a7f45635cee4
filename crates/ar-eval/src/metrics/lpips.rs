use ar_metrics::networks;

use crate::metric::check_size;
use crate::{
    ClipMeter, ClipMetric, ClipTraits, Column, EvaluationError, Load, MetricInfo, Network,
};

const VGG16: Network = Network {
    name: "vgg16",
    published: "vgg16-397923af.pth",
};
const LINEAR: Network = Network {
    name: "lpips",
    published: "LPIPS's weights/v0.1/vgg.pth",
};

/// The smallest width and height for VGG16's stages.
const SIZE: usize = 16;

/// Learned perceptual image patch similarity, the mean over pairs of frames.
pub(super) struct Lpips;

impl MetricInfo for Lpips {
    fn name(&self) -> &'static str {
        "lpips"
    }

    fn help(&self) -> &'static str {
        "Learned perceptual image patch similarity, of clips with a ground truth"
    }

    fn networks(&self) -> &'static [Network] {
        &[VGG16, LINEAR]
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        check_size(clips, SIZE)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["lpips"]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column {
            name: "LPIPS",
            figure: |row| Some(format!("{:.4}", row.number("lpips")?)),
        }]
    }
}

impl ClipMetric for Lpips {
    fn load(&self, load: &Load<'_>) -> Result<ClipMeter, EvaluationError> {
        let [vgg, linear] = [VGG16, LINEAR].map(|network| load.networks.path(&network));
        let network = networks::Lpips::load(vgg, linear, load.device)?;
        Ok(Box::new(move |clip| {
            let (frames, truth) = clip.compared()?;
            // The published network expects [-1, 1].
            let images = |frames| clip.pixels(frames).squeeze_dim::<4>(0) * 2 - 1;
            let distances = network.forward(images(frames), images(truth));
            Some(f64::from(distances.mean().into_scalar::<f32>()).into())
        }))
    }
}
