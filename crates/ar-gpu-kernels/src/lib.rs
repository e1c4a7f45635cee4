//! Fused kernels for Burn's GPU backends, with hand-written backward passes.
//!
//! Burn joins element-wise operations into one GPU kernel by itself (fusion). What it doesn't join
//! are reductions, and what automatic differentiation keeps: every intermediate result of attention
//! and layer norms until the backward pass. An operation here keeps its inputs only and computes the
//! rest anew, and its reductions are kernels of their own, written in
//! [CubeCL](https://github.com/tracel-ai/cubecl): one source for CUDA, Vulkan, Metal and WebGPU.
//!
//! Operations on any backend are in `ar-ops`: they use these kernels where `covers` allows it and
//! Burn's own operations elsewhere. Products of matrices are always Burn's.
//!
//! # Features
//! `cuda`, `metal`, `vulkan` and `wgpu` say what the kernels run on. The crate is empty without
//! any of them. `fusion` goes with Burn's feature of that name.
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

/// Whether the kernels are not left out, as `AR_GPU_KERNELS=off` in the environment demands.
static ON: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("AR_GPU_KERNELS").is_none_or(|value| value != "off"));

/// Whether the kernels compute on this tensor: floats on a GPU, with autodiff or without. None is
/// covered with `AR_GPU_KERNELS=off` in the environment, which is there to measure what they are
/// worth.
pub fn covers<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    let device = match device.as_dispatch() {
        DispatchDevice::Autodiff(device) => device,
        device => device,
    };
    let float = matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16);
    *ON && float && matches!(device, DispatchDevice::Cube(_))
}
