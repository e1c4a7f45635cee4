//! What can be measured. A metric is added here, in [`Metric`], where it is computed
//! ([clip by clip](super::measures) or [over sets of clips](super::distances)), and in the
//! [report](super::report).

use ar_metrics::networks::{C3d, I3d, InceptionV3, ResNet3d};
use clap::ValueEnum;
use serde::Serialize;

use super::network::Network;

/// Parts of a set that an inception score is averaged over.
pub(super) const SPLITS: usize = 10;

/// What the user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Metric {
    /// Physics consistency, in the world of shapes
    World,
    /// Peak signal-to-noise ratio
    Psnr,
    /// Structural similarity
    Ssim,
    /// Frechet distances of the model's own latents, of frames and of their changes
    Latents,
    /// Learned perceptual image patch similarity
    Lpips,
    /// Frechet video distance, by I3D
    Fvd,
    /// Frechet inception distance of frames, by Inception-v3
    Fid,
    /// Frechet inception distance of clips, by a 3D ResNet
    FidVideo,
    /// Inception score of clips, by C3D
    Is,
}

impl Metric {
    /// The name, as in a list.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no metric is hidden");
        value.get_name().to_owned()
    }

    /// The published networks that it looks through.
    pub(crate) fn networks(self) -> &'static [Network] {
        match self {
            Self::World | Self::Psnr | Self::Ssim | Self::Latents => &[],
            Self::Lpips => &[Network::Vgg16, Network::Lpips],
            Self::Fvd => &[Network::I3d],
            Self::Fid => &[Network::InceptionV3],
            Self::FidVideo => &[Network::Resnet3d],
            Self::Is => &[Network::C3d],
        }
    }

    /// Of one that compares sets of clips: the samples that a clip of `frames` frames gives and the
    /// features of each. `latent` has the numbers of tokens and channels of the model.
    pub(crate) fn features(self, frames: usize, latent: [usize; 2]) -> Option<Features> {
        let [samples, width] = match self {
            Self::World | Self::Psnr | Self::Ssim | Self::Lpips => return None,
            Self::Latents => [frames, latent.iter().product()],
            Self::Fvd => [1, I3d::WIDTH],
            Self::Fid => [frames, InceptionV3::WIDTH],
            Self::FidVideo => [1, ResNet3d::WIDTH],
            Self::Is => [1, C3d::WIDTH],
        };
        Some(Features {
            metric: self,
            samples,
            width,
        })
    }
}

/// The features of a clip by which sets of clips are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    pub metric: Metric,
    /// Samples of a clip.
    pub samples: usize,
    /// Features of a sample.
    pub width: usize,
}

impl Features {
    /// Features of a clip.
    pub(crate) fn len(self) -> usize {
        self.samples * self.width
    }
}
