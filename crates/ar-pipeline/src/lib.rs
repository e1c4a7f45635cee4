//! From an AR-Diffusion model to videos.
//!
//! [`Pipeline`] holds a model on a device. [`Pipeline::generate`] checks the options and returns a
//! [`Generation`]. Its [`frames`](Generation::frames) are returned one by one as they are finished,
//! or [`write`](Generation::write) writes them to a file while sampling continues.
//!
//! ```no_run
//! use ar_pipeline::{GenerateOptions, Pipeline};
//! # use burn::tensor::Device;
//! # let device = Device::flex();
//!
//! let pipeline = Pipeline::load("runs/shapes/model", &device)?;
//! let options = GenerateOptions { frames: Some(100), seed: 7, ..GenerateOptions::default() };
//! for frame in pipeline.generate(&options)?.frames() {
//!     let frame = frame?.frame; // 8-bit RGB
//!     println!("{}x{}", frame.width(), frame.height());
//! }
//! pipeline.generate(&options)?.write("video.mp4")?;
//! # Ok::<(), ar_pipeline::PipelineError>(())
//! ```
#![warn(missing_docs)]

mod batch_noise;
mod built_in;
mod chunks;
mod denoising;
mod error;
mod generation;
mod noise;
mod options;
mod output;
mod pipeline;
mod prefix;
mod resolve;
mod sampled;
mod sink;
mod source;
mod steps;
mod timing;
mod write;

pub use error::PipelineError;
pub use generation::Generation;
pub use noise::{NoiseError, StartNoise};
pub use options::{Classes, GenerateOptions};
pub use output::{Destination, Outputs, VideoTarget, with_suffix};
pub use pipeline::Pipeline;
pub use prefix::Prefix;
pub use resolve::{ResolvedOptions, check_frames, check_guidance, guidance_note};
pub use source::ModelSource;
pub use steps::{Frames, GeneratedFrame, Preview, Step, Steps};
pub use timing::timed;
pub use write::{Outcome, WriteProgress};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
