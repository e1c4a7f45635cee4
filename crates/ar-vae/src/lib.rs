//! The AR-VAE of AR-Diffusion (paper section 3.2): a transformer tokenizer in the style of TiTok that turns every frame
//! into a few continuous tokens, and a decoder back to pixels, with temporally causal attention between frames if
//! [`ArVaeConfig::temporal`] is set. [`ConvVae`] is a small convolutional tokenizer with the same interface; [`Vae`] is
//! either of them.
//!
//! ```
//! use ar_vae::{PixelDecoderConfig, ArVaeConfig};
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::flex();
//! let config = ArVaeConfig {
//!     image_size: 16,
//!     patch_size: 4,
//!     width: 32,
//!     layers: 1,
//!     heads: 2,
//!     latent_tokens: 4,
//!     codebook_channels: 32,
//!     pixel_decoder: PixelDecoderConfig {
//!         hidden_channels: 8,
//!         channel_multipliers: vec![1, 1, 2],
//!         res_blocks: 1,
//!         z_channels: 8,
//!         norm_groups: 4,
//!     },
//!     ..ArVaeConfig::default()
//! };
//! let vae = config.init(&device)?;
//! let pixels = Tensor::zeros([1, 3, 3, 16, 16], &device); // [batch, frames, rgb, height, width]
//! let latents = vae.encode(pixels.clone()).latents();
//! assert_eq!(latents.dims(), [1, 3, 4, 4]); // [batch, frames, tokens, channels]
//! assert_eq!(vae.decode(latents).dims(), pixels.dims());
//! # Ok::<(), ar_vae::VaeConfigError>(())
//! ```
#![warn(missing_docs)]

mod attention;
mod config;
mod conv_vae;
mod decoder;
mod encoder;
mod model;
mod parts;
mod pixel_decoder;
mod posterior;
mod temporal;
mod transformer;
mod vae;

pub use attention::MultiheadAttention;
pub use config::{ArVaeConfig, PixelDecoderConfig, VaeConfigError};
pub use conv_vae::{ConvVae, ConvVaeConfig};
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use model::{ArVae, CHECKPOINT_KEYS};
pub use posterior::Posterior;
pub use vae::{Vae, VaeConfig};

pub use pixel_decoder::PixelDecoder;
pub use temporal::{CoarseTemporalBlock, FineTemporalBlock};
pub use transformer::{ResidualAttentionBlock, TransformerMlp};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
