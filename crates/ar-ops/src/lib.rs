//! Tensor operations that the AR-Diffusion networks share and Burn does not have.
//!
//! Everything here is a free function or a small table over [`burn`] tensors, or [`blocks`], the way
//! through a network; no network, no configuration file, no I/O. Shapes are written in the order
//! `[batch, frames, tokens, channels]` throughout the workspace.
//!
//! ```
//! use ar_ops::noise::FrameNoise;
//!
//! // A frame's noise depends on (seed, sample, frame) alone: the first frames of a long video
//! // start from the same noise as those of a short one, on every device.
//! let noise = FrameNoise::new(42);
//! let short = noise.clip(0, 0..4, 8);
//! let long = noise.clip(0, 0..16, 8);
//! assert_eq!(short, long[..4 * 8]);
//! ```
#![warn(missing_docs)]

pub mod activation;
pub mod attention;
pub mod blocks;
pub mod conv;
#[cfg(feature = "flex")]
mod fused;
pub mod linear;
pub mod mlp;
pub mod noise;
pub mod norm;
pub mod position;
