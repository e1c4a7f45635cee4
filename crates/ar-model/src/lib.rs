//! AR-Diffusion models on disk: a directory with `config.toml`, `transformer.safetensors` and
//! `vae.safetensors`, in the key layout of the published checkpoints.
//!
//! ```
//! use ar_dit::DitConfig;
//! use ar_model::{ModelConfig, VideoModel};
//! use burn::tensor::Device;
//!
//! let config: ModelConfig = r#"
//!     name = "tiny"
//!     [transformer]
//!     num_frames = 4
//!     tokens_per_frame = 6
//!     hidden_size = 48
//!     depth = 2
//!     num_heads = 4
//!     context_tokens = 5
//!     context_dim = 20
//! "#
//! .parse()?;
//! let model = VideoModel::init(config, &Device::flex())?;
//! let folder = tempfile::tempdir()?;
//! model.save(folder.path(), ar_model::Precision::Full)?;
//! let model = VideoModel::load(folder.path(), &Device::flex())?;
//! assert_eq!(model.transformer()?.dit().config().depth, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod config;
mod context;
mod directory;
mod error;
mod import;
mod infer;
mod keys;
mod kind;
mod precision;
mod sampling;
mod statistics;
mod transformer;
mod ucf101;
mod video_model;

pub use ar_weights::Precision;
pub use config::{ClassRows, ConditioningConfig, ModelConfig, SamplingConfig};
pub use context::ContextEmbedding;
pub use directory::{ModelFiles, check_directory, open_checkpoint, verify, write_directory};
pub use error::ModelError;
pub use import::{ImportOptions, Imported, import};
pub use keys::{TRANSFORMER_KEYS, VAE_KEYS};
pub use kind::NetworkKind;
pub use precision::ComputePrecision;
pub use sampling::{CausalTransformer, SamplingMethod};
pub use statistics::{LatentScale, LatentStatistics};
pub use transformer::Transformer;
pub use video_model::VideoModel;

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
