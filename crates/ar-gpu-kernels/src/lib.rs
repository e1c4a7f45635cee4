//! Fused kernels for Burn's GPU backends, with hand-written backward passes.
//!
//! Burn fuses element-wise operations into one GPU kernel by itself. It does not fuse reductions, and its automatic
//! differentiation keeps every intermediate result of attention and layer norms until the backward pass. An operation
//! here keeps only its inputs and recomputes the rest, and its reductions are special kernels, written in
//! [CubeCL](https://github.com/tracel-ai/cubecl): one source for CUDA, Vulkan, Metal and WebGPU.
//!
//! The operations for all backends are in `ar-ops`: they use these kernels where `covers` allows it, and Burn's own
//! operations elsewhere. Matrix products are always Burn's.
//!
//! # Features
//! `cuda`, `metal`, `vulkan` and `wgpu` choose what the kernels run on. The crate is empty without any of them.
//! `fusion` goes with Burn's feature of the same name.
#![cfg(any(
    feature = "cuda",
    feature = "metal",
    feature = "vulkan",
    feature = "wgpu"
))]
#![warn(missing_docs)]

use std::sync::LazyLock;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, DispatchDevice};
use burn::tensor::{DType, Tensor};
use burn_cubecl::cubecl;

pub mod attention;
pub mod gelu;
mod heads;
pub mod norm;
mod rows;
mod softmax;

/// A tensor of the GPU backend without autodiff.
type GpuTensor = FloatTensor<Cube>;

/// Whether the kernels are used: not with `AR_GPU_KERNELS=off` in the environment.
static ON: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("AR_GPU_KERNELS").is_none_or(|value| value != "off"));

/// Whether the kernels support this tensor: floats on a GPU, with or without autodiff. With `AR_GPU_KERNELS=off` in the
/// environment they support none, to measure how much they gain.
pub fn covers<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    let device = match device.as_dispatch() {
        DispatchDevice::Autodiff(device) => device,
        device => device,
    };
    let float = matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16);
    *ON && float && matches!(device, DispatchDevice::Cube(_))
}
