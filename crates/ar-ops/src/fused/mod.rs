//! Fused kernels of the CPU backend, with hand-written backward passes.
//!
//! Burn's CPU backend computes every element-wise operation in a pass of its own, on one thread
//! and one element at a time, and every pass allocates its result. A kernel here makes one pass
//! over the data, on all cores and in vectors. They extend the backend through
//! `#[backend_extension]`; the functions of the other modules use them where [`cover`] allows and
//! Burn's own operations elsewhere.

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchDevice, Flex};
use burn::nn::Linear;
use burn::tensor::{DType, Tensor};

pub(crate) mod adaptive;
pub(crate) mod attention;
mod awake;
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
mod reused;
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

/// Whether the kernels without a backward pass do.
pub(crate) fn cover_untracked<const D: usize>(x: &Tensor<D>) -> bool {
    cover(x) && !x.device().is_autodiff()
}

/// The tensor of the CPU backend behind one that is [covered](cover_untracked).
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let primitive = tensor.try_into_primitive::<Flex>();
    primitive.expect("an untracked tensor of the CPU backend")
}

/// The inverse of [`primitive`].
pub(crate) fn wrap<const D: usize>(primitive: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive)
}

/// Weight and bias of a layer, if it has both.
pub(crate) fn layer(layer: &Linear) -> Option<[FlexTensor; 2]> {
    let bias = layer.bias.as_ref()?.val();
    Some([primitive(layer.weight.val()), primitive(bias)])
}
