//! The MLP of a transformer block.

use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::activation::gelu_tanh;
#[cfg(feature = "flex")]
use crate::fused::{self, mlp::GatedMlp};
use crate::linear::apply;
use crate::norm::{Gated, gated_residual};

/// Two linear layers around a tanh-GELU.
///
/// # Shapes
/// - `x` and output: `[.., width]`
pub fn mlp<const D: usize>(x: Tensor<D>, [fc1, fc2]: [&Linear; 2]) -> Tensor<D> {
    apply(fc2, gelu_tanh(apply(fc1, x)))
}

/// A block's half: `residual + gate * mlp(x)`. On the CPU it is faster than that for the few
/// tokens of a sampler's active frames.
///
/// # Shapes
/// - `x` and output: `[batch, frames, tokens, width]`
pub fn gated_mlp(gated: Gated, x: Tensor<4>, layers: [&Linear; 2]) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if fused::cover_untracked(&x)
        && let [Some(fc1), Some(fc2)] = layers.map(fused::layer)
    {
        let half = GatedMlp {
            residual: fused::primitive(gated.residual),
            gate: fused::primitive(gated.gate),
            x: fused::primitive(x),
            layers: [fc1, fc2],
        };
        return fused::wrap(half.forward());
    }
    gated_residual(gated.residual, gated.gate, mlp(x, layers))
}
