//! Fused kernels for Burn's CPU backend (Flex), with hand-written backward passes.
//!
//! Burn's CPU backend computes every element-wise operation in a separate pass, on one thread and
//! one element at a time, and every pass allocates its result. A kernel here makes one pass over
//! the data, on all cores and in vectors. Kernels extend the backend through
//! `#[backend_extension]`: each `..Ops` trait is implemented for Flex, for autodiff over it, and
//! for Burn's `Dispatch`, which dispatches to the backend of a tensor. Kernels without a backward
//! pass take and return Flex tensors.
//!
//! The operations for all backends are in `ar-ops`: they use these kernels where [`covers`] allows
//! it, and Burn's own operations elsewhere.
//!
//! ```
//! use ar_kernels::{covers, gelu::GeluOps};
//! use burn::backend::Dispatch;
//! use burn::tensor::{Device, Tensor};
//!
//! let x = Tensor::<2>::ones([2, 3], &Device::flex());
//! assert!(covers(&x));
//! let y = Tensor::<2>::from_dispatch(Dispatch::gelu_tanh(x.into_dispatch()));
//! assert_eq!(y.dims(), [2, 3]);
//! ```
#![warn(missing_docs)]

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchDevice, Flex};
use burn::nn::Linear;
use burn::tensor::{DType, Device, Tensor};

pub mod adaptive_norm;
pub mod attention;
mod bf16;
mod buffer;
mod busy_wait;
pub mod conv;
mod exp;
pub mod gated_mlp;
pub mod gated_residual;
pub mod gelu;
mod gemm;
mod level;
pub mod linear;
pub mod norm;
mod packed;
pub mod rotary;
mod rows;
mod scratch;

pub use level::simd_level;

/// Whether the kernels support this tensor: f32 on the CPU backend, with or without autodiff.
pub fn covers<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && is_covered(&x.device())
}

/// Whether this is the device of the CPU backend, with or without autodiff.
pub fn is_covered(device: &Device) -> bool {
    let device = match device.as_dispatch() {
        DispatchDevice::Autodiff(device) => device,
        device => device,
    };
    matches!(device, DispatchDevice::Flex(_))
}

/// Whether the kernels without a backward pass support this tensor: like [`covers`], but without
/// autodiff.
pub fn covers_without_autodiff<const D: usize>(x: &Tensor<D>) -> bool {
    covers(x) && !x.device().is_autodiff()
}

/// The CPU backend's tensor behind a [covered](covers_without_autodiff) one.
///
/// # Panics
/// If the tensor is not covered.
pub fn into_flex<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let primitive = tensor.try_into_primitive::<Flex>();
    primitive.expect("a tensor of the CPU backend without autodiff")
}

/// The inverse of [`into_flex`].
pub fn from_flex<const D: usize>(primitive: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive)
}

/// Weight and bias of a layer in f32, if it has both.
///
/// # Panics
/// If they are not on the CPU, or with autodiff.
pub fn layer_into_flex(layer: &Linear) -> Option<[FlexTensor; 2]> {
    let bias = layer.bias.as_ref()?.val();
    let weight = layer.weight.val().cast(DType::F32);
    Some([into_flex(weight), into_flex(bias)])
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
