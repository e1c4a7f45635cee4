//! Layer normalisation without parameters and its adaptive modulation.

use burn::tensor::{Tensor, module};

/// Layer normalisation over the last axis, without scale or bias.
pub fn layer_norm<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let width = x.dims()[D - 1];
    let ones = Tensor::ones([width], &x.device());
    module::layer_norm(x, ones, None, epsilon)
}

/// Adaptive modulation `x (1 + scale) + shift` with one shift and scale a frame.
///
/// # Shapes
/// - `x`: `[batch, frames, tokens, width]`
/// - `shift`, `scale`: `[batch, frames, 1, width]`
pub fn modulate(x: Tensor<4>, shift: Tensor<4>, scale: Tensor<4>) -> Tensor<4> {
    x * scale.add_scalar(1.0) + shift
}

/// Scales every vector along `dim` to unit length; a zero vector stays zero.
pub fn l2_normalize<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let norm = x.clone().square().sum_dim(dim).sqrt().clamp_min(1e-12);
    x / norm
}
