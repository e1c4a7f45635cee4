//! A file for each metric.

mod fid;
mod fid_video;
mod fvd;
mod inception_score;
mod latents;
mod lpips;
mod psnr;
mod ssim;
mod world;

use crate::Metric;

/// All metrics, in the order of help and reports.
pub const METRICS: &[Metric] = &[
    Metric::Clip(&psnr::Psnr),
    Metric::Clip(&ssim::Ssim),
    Metric::Clip(&lpips::ON_VGG16),
    Metric::Clip(&lpips::ON_ALEXNET),
    Metric::Set(&fvd::Fvd),
    Metric::Set(&fid::Fid),
    Metric::Set(&fid_video::FidVideo),
    Metric::Set(&inception_score::InceptionScore),
    Metric::Set(&latents::Latents),
    Metric::Clip(&world::World),
];

impl Metric {
    /// The metric with that name.
    pub fn named(name: &str) -> Option<Self> {
        METRICS.iter().copied().find(|metric| metric.name() == name)
    }
}
