//! Measures of single clips.

use ar_metrics::physics::{ClipMeasures, Truth, World, measure};
use ar_metrics::{psnr, ssim};
use ar_video::Frame;
use serde::{Deserialize, Serialize};

use super::metrics::Metric;
use super::networks::Networks;

/// A clip to be measured.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub frames: &'a [Frame],
    /// How it should be, if that is known.
    pub truth: Option<Truth<'a>>,
    /// The laws of the data, if they are a world of shapes.
    pub world: Option<&'a World>,
}

/// What is measured of one clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Measures {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<ClipMeasures>,
    /// In decibels; none without error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssim: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lpips: Option<f64>,
}

impl Measures {
    /// Everything that is asked for and says something of the clip.
    pub(super) fn of(clip: Measured<'_>, metrics: &[Metric], networks: &Networks) -> Self {
        // Frames that were given are no achievement.
        let compared = clip
            .truth
            .map(|truth| (&clip.frames[truth.given..], &truth.frames[truth.given..]));
        let mut measures = Self::default();
        for metric in metrics {
            match metric {
                Metric::World => {
                    measures.world = clip
                        .world
                        .map(|world| measure(world, clip.frames, clip.truth));
                }
                Metric::Psnr => {
                    let psnr = compared.map(|(frames, truth)| psnr(frames, truth));
                    measures.psnr = psnr.filter(|psnr| psnr.is_finite());
                }
                Metric::Ssim => {
                    measures.ssim = compared.map(|(frames, truth)| ssim(frames, truth));
                }
                Metric::Lpips => {
                    measures.lpips = compared.map(|(frames, truth)| networks.lpips(frames, truth));
                }
                // Of sets of clips.
                Metric::Latents | Metric::Fvd | Metric::Fid | Metric::FidVideo | Metric::Is => {}
            }
        }
        measures
    }
}
