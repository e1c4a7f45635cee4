//! What can be measured of a clip. A measure is added here, in [`Metric`], [`Measures`] and
//! [`Metric::measure`], and in the [report](super::report).

use ar_metrics::world::{ClipMeasures, Truth, World, measure};
use ar_metrics::{psnr, ssim};
use ar_video::Frame;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What the user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The laws of the world of shapes.
    World,
    /// Peak signal-to-noise ratio.
    Psnr,
    /// Structural similarity.
    Ssim,
}

/// A clip to be measured.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    pub frames: &'a [Frame],
    /// How it should be, if that is known.
    pub truth: Option<Truth<'a>>,
    /// The laws of the data, if they are a world of shapes.
    pub world: Option<&'a World>,
}

/// What is measured of one clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<ClipMeasures>,
    /// In decibels; none without error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssim: Option<f64>,
}

impl Metric {
    /// Adds this measure of a clip, where it says something of it, to `measures`.
    pub fn measure(self, clip: Measured<'_>, measures: &mut Measures) {
        // Frames that were given are no achievement.
        let compared = clip
            .truth
            .map(|truth| (&clip.frames[truth.given..], &truth.frames[truth.given..]));
        match self {
            Self::World => {
                measures.world = clip
                    .world
                    .map(|world| measure(world, clip.frames, clip.truth));
            }
            Self::Psnr => {
                let psnr = compared.map(|(frames, truth)| psnr(frames, truth));
                measures.psnr = psnr.filter(|psnr| psnr.is_finite());
            }
            Self::Ssim => measures.ssim = compared.map(|(frames, truth)| ssim(frames, truth)),
        }
    }
}
