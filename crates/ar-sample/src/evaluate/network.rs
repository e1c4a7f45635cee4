//! The published networks that metrics are computed with.

use clap::ValueEnum;
use serde::Serialize;

/// A published network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Network {
    I3d,
    InceptionV3,
    Resnet3d,
    C3d,
    Vgg16,
    Lpips,
}

impl Network {
    /// The name, as in the option.
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value().expect("no network is hidden");
        value.get_name().to_owned()
    }

    /// A file that holds its weights, as published.
    pub(super) fn published(self) -> &'static str {
        match self {
            Self::I3d => "rgb_imagenet.pt",
            Self::InceptionV3 => "pt_inception-2015-12-05-6726825d.pth",
            Self::Resnet3d => "r3d50_K_200ep.pth",
            Self::C3d => "a conversion of C3D for UCF-101",
            Self::Vgg16 => "vgg16-397923af.pth",
            Self::Lpips => "LPIPS's weights/v0.1/vgg.pth",
        }
    }
}
