//! Diffusion of videos in which every frame has its own noise level (paper sections 3.1 to 3.4):
//! corruption and objectives for training, guidance and the asynchronous sampler for inference.
//!
//! A [`Sampler`] samples a video lazily: [`Sampling`] is an iterator over its iterations, and each [`Iteration`]
//! returns the frames that it finished, in order. They can be decoded and shown while later ones are denoised.
//!
//! This crate does not depend on any network: a [`Denoiser`] is anything that maps noisy latents, timesteps and context
//! to a prediction, such as a closure. A [`CausalDenoiser`] caches what later frames need from finished ones (in a
//! transformer, keys and values), which saves most evaluations.
//!
//! ```
//! use ar_diffusion::{Context, DiffusionConfig, HostNoise, SamplerConfig};
//! use burn::tensor::{Device, Int, Tensor};
//!
//! let device = Device::flex();
//! let diffusion = DiffusionConfig::default().init()?;
//! // The perfect denoiser of a world that contains only one video: it predicts that video.
//! let video = Tensor::<4>::full([1, 6, 2, 4], 0.5, &device);
//! let oracle = |x: Tensor<4>, _: Tensor<2, Int>, _: Tensor<3>| {
//!     Tensor::full(x.dims(), 0.5, &x.device())
//! };
//!
//! let config = SamplerConfig { steps: 10, ar_step: 3, ..SamplerConfig::default() };
//! let sampler = diffusion.sampler(config, 6, 4)?; // six frames through a window of four
//! let noise = HostNoise::new(42, [1, 2, 4], &device);
//! let context = Context::unguided(Tensor::zeros([1, 1, 8], &device));
//! let mut frames = Vec::new();
//! for iteration in sampler.run(&oracle, &noise, context) {
//!     for frame in iteration.finished {
//!         // In order: the first after its 10 steps, each of the others 3 iterations later.
//!         assert_eq!(frame.index, frames.len());
//!         assert_eq!(iteration.index + 1, 10 + 3 * frame.index);
//!         frames.push(frame.latent);
//!     }
//! }
//! let error = (Tensor::cat(frames, 1) - video).abs().max().into_scalar::<f32>();
//! assert!(error < 0.05);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod context;
mod denoiser;
mod diffusion;
mod frame_latents;
mod loss;
mod noise;
mod parameterization;
mod predictor;
mod replay;
mod sampler;

pub use context::Context;
pub use denoiser::{CausalDenoiser, Denoiser};
pub use diffusion::{Diffusion, DiffusionConfig};
pub use loss::{LossConfig, LossKind};
pub use noise::{GivenNoise, HostNoise, NoiseSource};
pub use parameterization::Parameterization;
pub use sampler::{
    FrameInProgress, Iteration, SampledFrame, Sampler, SamplerConfig, SamplerError, Sampling,
};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
