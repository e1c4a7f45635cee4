//! Fused kernels of the CPU backend, with hand-written backward passes.
//!
//! Burn's CPU backend computes every element-wise operation in a pass of its own, on one thread
//! and one element at a time, and every pass allocates its result. A kernel here makes one pass
//! over the data, on all cores and in vectors. They extend the backend through
//! `#[backend_extension]`; the functions of the other modules use them where [`cover`] allows and
//! Burn's own operations elsewhere.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Tensor};

pub(crate) mod attention;
mod buffer;
#[cfg(test)]
pub(crate) mod check;
mod exp;
pub(crate) mod gate;
pub(crate) mod gelu;
mod gemm;
pub(crate) mod linear;
pub(crate) mod mlp;
pub(crate) mod norm;
mod record;
mod rows;

/// Whether the kernels here compute on this tensor: f32 on the CPU backend, tracked or not.
pub(crate) fn cover<const D: usize>(x: &Tensor<D>) -> bool {
    let device = x.device();
    let device = match device.as_dispatch() {
        DispatchDevice::Autodiff(device) => device,
        device => device,
    };
    x.dtype() == DType::F32 && matches!(device, DispatchDevice::Flex(_))
}
