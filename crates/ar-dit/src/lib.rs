//! The temporally causal diffusion transformer of AR-Diffusion (paper section 3.3).
//!
//! [`Dit`] maps noisy latents, one timestep per frame and context vectors to a prediction with the shape of the
//! latents. If every frame depends only on earlier ones, [`CausalDit`] evaluates new frames against a [`KvCache`] of
//! finished ones. Field names follow the published checkpoints; [`CHECKPOINT_KEYS`] lists the differences.
//!
//! ```
//! use ar_dit::DitConfig;
//! use burn::tensor::{Device, Int, Tensor};
//!
//! let device = Device::flex();
//! let config = DitConfig {
//!     num_frames: 4,
//!     tokens_per_frame: 6,
//!     hidden_size: 48,
//!     depth: 2,
//!     num_heads: 4,
//!     context_tokens: 5,
//!     context_dim: 20,
//!     ..DitConfig::default()
//! };
//! let dit = config.init(&device)?;
//! let latents = Tensor::zeros([1, 4, 6, config.in_channels], &device);
//! // Earlier frames are never noisier than later ones.
//! let timesteps = Tensor::<1, Int>::from_ints([1, 250, 500, 999], &device).unsqueeze();
//! let context = Tensor::zeros([1, 5, 20], &device);
//! let output = dit.forward(latents, timesteps, context);
//! assert_eq!(output.dims(), [1, 4, 6, config.in_channels]);
//! # Ok::<(), ar_dit::DitConfigError>(())
//! ```
#![warn(missing_docs)]

mod attention;
mod block;
mod causal;
mod config;
mod kv_cache;
mod mask;
mod mlp;
mod model;
mod on_device;
mod position_embedding;
#[cfg(test)]
mod testing;
mod timestep;

pub use attention::Attention;
pub use block::{Block, Tokens};
pub use causal::CausalDit;
pub use config::{DitConfig, DitConfigError, MergeMode, PositionEmbedding};
pub use kv_cache::KvCache;
pub use mask::{CausalMask, SequenceLengths};
pub use mlp::Mlp;
pub use model::{CHECKPOINT_KEYS, Dit};
pub use timestep::TimestepEmbedder;

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
