//! Network weights in files, with every tensor accounted for: if a tensor is missing, unused or has
//! the wrong shape, the error names it.
//!
//! Tensors are read and written one at a time, so memory is needed only for the network and its
//! largest tensor. Reads safetensors and PyTorch files (`.pt`, `.pth`), and writes safetensors.
//!
//! ```
//! use ar_weights::{KeyMap, Precision, WeightsSource, load_weights, save_weights};
//! use burn::nn::LinearConfig;
//! use burn::tensor::Device;
//!
//! let device = Device::flex();
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("linear.safetensors");
//! let keys = KeyMap::new(&[], &[]);
//! save_weights(&LinearConfig::new(3, 2).init(&device), &path, keys, Precision::Full)?;
//!
//! let mut wider = LinearConfig::new(4, 2).init(&device);
//! let error = load_weights(&mut wider, WeightsSource::File(&path), keys).unwrap_err();
//! assert!(error.to_string().contains("weight has shape"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod checkpoint;
mod content;
mod error;
mod finite;
mod floats;
mod keys;
mod load;
mod location;
mod parameters;
mod precision;
mod safetensors;
mod save;
mod source;
mod stored;

pub use checkpoint::Checkpoint;
pub use error::WeightsError;
pub use finite::{Fault, LARGEST_WEIGHT, exploded};
pub use keys::KeyMap;
pub use load::{check_weights, load_checkpoint, load_weights};
pub use location::{LocationError, WeightsLocation, names_weights};
pub use parameters::file_shapes;
pub use precision::Precision;
pub use save::save_weights;
pub use source::WeightsSource;

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
