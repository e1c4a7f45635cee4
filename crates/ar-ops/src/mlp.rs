//! The MLP of a transformer block.

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::activation::gelu_tanh;
#[cfg(feature = "flex")]
use crate::fused::{self, mlp::MlpOps};
use crate::linear::apply;
use crate::norm::gated_residual;

/// `layers[1](gelu(layers[0](x)))` with the tanh-GELU.
///
/// # Shapes
/// - `x` and output: `[.., width]`
pub fn mlp<const D: usize>(x: Tensor<D>, layers: [&Linear; 2]) -> Tensor<D> {
    let [fc1, fc2] = layers;
    apply(fc2, gelu_tanh(apply(fc1, x)))
}

/// `residual + gate * mlp(x)` with one gate a frame; for sampling, as it is fastest for few tokens
/// without automatic differentiation.
///
/// # Shapes
/// - `residual`, `x` and output: `[batch, frames, tokens, width]`
/// - `gate`: `[batch, frames, 1, width]`, or `[batch, 1, 1, width]` for all frames
pub fn gated_mlp(
    residual: Tensor<4>,
    gate: Tensor<4>,
    x: Tensor<4>,
    layers: [&Linear; 2],
) -> Tensor<4> {
    // The kernel has no backward pass.
    #[cfg(feature = "flex")]
    if let [Some(bias_1), Some(bias_2)] = layers.map(|layer| layer.bias.as_ref())
        && fused::cover(&x)
        && !x.device().is_autodiff()
    {
        let [weight_1, weight_2] = layers.map(|layer| layer.weight.val().into_dispatch());
        let [bias_1, bias_2] = [bias_1, bias_2].map(|bias| bias.val().into_dispatch());
        let [residual, gate, x] = [residual, gate, x].map(Tensor::into_dispatch);
        let output = Dispatch::gated_mlp(residual, gate, x, weight_1, bias_1, weight_2, bias_2);
        return Tensor::from_dispatch(output);
    }
    gated_residual(residual, gate, mlp(x, layers))
}
