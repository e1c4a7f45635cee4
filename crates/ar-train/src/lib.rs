//! Training of AR-Diffusion models: the stages behind the `ar-train` command, as a library.
//!
//! Each stage is one visible loop: [`vae`] trains the AR-VAE on frames, [`latents`] encodes a
//! dataset with it, [`diffusion`] trains the transformer on the latents. The loops share
//! [`trainer`] (optimisation steps and the average of the weights), [`checkpoint`] and [`resume`],
//! [`log`] (metrics, TensorBoard, progress), [`workers`] and [`group`] (devices and processes that
//! share a step), and [`run`], the folder of a run.
//!
//! All randomness is addressed by seed and step, so a run that is resumed from a checkpoint
//! continues as if it had never stopped.
//!
//! ```
//! use ar_train::config::{DiffusionRun, read_config};
//!
//! let config: DiffusionRun = read_config(
//!     r#"
//!     vae = "runs/shapes-vae/model"
//!     [data]
//!     latents = "runs/shapes-latents"
//!     "#,
//!     &["run.steps=500".into(), "optimizer.learning_rate=1e-3".into()],
//! )?;
//! assert_eq!(config.run.steps, 500);
//! # Ok::<(), ar_train::Error>(())
//! ```
#![warn(missing_docs)]

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod diffusion;
mod ema;
pub mod error;
pub mod forecast;
mod gradients;
pub mod group;
pub mod guard;
pub mod latents;
pub mod learner;
pub mod log;
mod losses;
pub mod presets;
pub mod resume;
pub mod run;
mod samples;
mod start_from;
pub mod trainer;
pub mod vae;
pub mod workers;

pub use error::{ConfigError, Error};
