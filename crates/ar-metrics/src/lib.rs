//! Metrics of video quality and similarity.
//!
//! | measure | of | entry |
//! |---|---|---|
//! | PSNR, SSIM | two videos, on frames of 8-bit RGB | [`psnr`], [`ssim`] |
//! | physics consistency, in the world of shapes | a video | [`physics`] |
//! | LPIPS | two videos, as seen by a network | [`Lpips`](networks::Lpips) |
//! | FVD | two sets of videos | [`I3d`](networks::I3d), [`frechet_distance`] |
//! | FID | two sets of frames | [`InceptionV3`](networks::InceptionV3), [`frechet_distance`] |
//! | FID of videos | two sets of videos | [`ResNet3d`](networks::ResNet3d), [`frechet_distance`] |
//! | inception score | a set of videos | [`C3d`](networks::C3d), [`ClassProbabilities`] |
//!
//! The user provides the networks' weights: published checkpoints, read as they are.
//!
//! ```
//! use ar_metrics::{psnr, ssim};
//! use ar_video::Frame;
//!
//! let grey = |level: u8| [Frame::new(16, 16, vec![level; 16 * 16 * 3])];
//! // An error of 5 everywhere: 10 log10(255² / 5²).
//! assert!((psnr(&grey(100), &grey(105)) - 34.151).abs() < 1e-3);
//! assert_eq!(psnr(&grey(100), &grey(100)), f64::INFINITY);
//! assert_eq!(ssim(&grey(100), &grey(100)), 1.0);
//! ```
//!
//! FVD, in parts that may be computed anywhere and merged:
//!
//! ```no_run
//! use ar_metrics::networks::{FeatureExtractor, I3d};
//! use ar_metrics::{FeatureStatistics, frechet_distance};
//! # use burn::tensor::{Device, Tensor};
//! # let device = Device::flex();
//! # let clips = || Vec::<Tensor<5>>::new();
//! # let (real_clips, generated_clips) = (clips(), clips());
//!
//! let network = I3d::load("i3d_pretrained_400.pt", &device)?;
//! let gather = |batches: Vec<Tensor<5>>| {
//!     let mut statistics = FeatureStatistics::new(network.width());
//!     for clips in batches {
//!         statistics.add(network.features(clips))?;
//!     }
//!     Ok::<_, ar_metrics::MetricError>(statistics)
//! };
//! let fvd = frechet_distance(&gather(real_clips)?, &gather(generated_clips)?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod archive;
mod error;
mod frechet;
mod inception_score;
pub mod networks;
pub mod physics;
mod psnr;
mod ssim;

pub use error::MetricError;
pub use frechet::{FeatureStatistics, frechet_distance};
pub use inception_score::{ClassProbabilities, InceptionScore};
pub use psnr::{PsnrSum, psnr};
pub use ssim::{SSIM_WINDOW, ssim};

use ar_video::Frame;

/// Panics if `a` and `b` cannot be compared frame by frame.
#[track_caller]
fn assert_comparable(a: &[Frame], b: &[Frame]) {
    assert!(!a.is_empty(), "videos of at least one frame are compared");
    assert_eq!(a.len(), b.len(), "videos of one length are compared");
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(
            a.size(),
            b.size(),
            "the sizes of frame {index} are compared"
        );
    }
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
