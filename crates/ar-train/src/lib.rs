//! Training of AR-Diffusion models: the stages behind the `ar-train` command, as a library.
//!
//! Each stage is one visible loop: [`vae`] trains the AR-VAE on frames, [`latents`] encodes a
//! dataset with it, [`diffusion`] trains the transformer on the latents. What the loops share is
//! in [`trainer`] (one optimisation step) and [`run`] (the folder of a run: checkpoints, metrics,
//! progress, interruption).
//!
//! All randomness is addressed by seed and step, so that a run that is resumed from a checkpoint
//! goes on as if it had never stopped.
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
//! # Ok::<(), anyhow::Error>(())
//! ```
#![warn(missing_docs)]

pub mod config;
pub mod data;
pub mod diffusion;
pub mod latents;
pub mod run;
pub mod trainer;
pub mod vae;
