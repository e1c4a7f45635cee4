//! Measures of how close videos are and how well they keep the laws of a synthetic [`world`], on
//! frames of 8-bit RGB; no tensor library.
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
#![warn(missing_docs)]

mod psnr;
mod ssim;
pub mod world;

pub use psnr::psnr;
pub use ssim::{SSIM_WINDOW, ssim};

use ar_video::Frame;

/// Panics where `a` and `b` cannot be compared frame by frame.
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
