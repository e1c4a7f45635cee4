//! Tensor operations that the AR-Diffusion networks share and that Burn does not have.
//!
//! Everything here is a free function or a small table over [`burn`] tensors: no network, no configuration file, no
//! I/O. Shapes are written in the order `[batch, frames, tokens, channels]` throughout the workspace. With the feature
//! `flex`, the operations run fused kernels on the CPU (`ar-kernels`); with `cuda`, `metal`, `vulkan` or `wgpu`, on
//! GPUs (`ar-gpu-kernels`).
#![warn(missing_docs)]

pub mod activation;
pub mod attention;
pub mod conv;
pub mod linear;
pub mod mlp;
pub mod norm;
pub mod position;
pub mod rotary;
#[cfg(all(test, feature = "flex"))]
mod testing;

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
