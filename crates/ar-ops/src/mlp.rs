//! The MLP of a transformer block.

use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::activation::gelu_tanh;
use crate::linear::apply;
use crate::norm::AdaptiveNorm;
#[cfg(feature = "flex")]
use ar_kernels::gated_mlp::GatedMlp;

/// Two linear layers around a tanh-GELU.
///
/// # Shapes
/// - `x` and output: `[.., width]`
pub fn mlp<const D: usize>(x: Tensor<D>, [fc1, fc2]: [&Linear; 2]) -> Tensor<D> {
    apply(fc2, gelu_tanh(apply(fc1, x)))
}

/// The MLP sub-layer of a block: [`mlp`] inside an adaptive layer norm. On the CPU, a special
/// kernel is faster for the few tokens of a sampler's active frames.
///
/// # Shapes
/// - `x` and output: `[batch, frames, tokens, width]`
pub fn gated_mlp(x: Tensor<4>, norm: AdaptiveNorm, layers: [&Linear; 2]) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers_without_autodiff(&x)
        && let [Some(fc1), Some(fc2)] = layers.map(ar_kernels::layer_into_flex)
    {
        let sublayer = GatedMlp {
            adaptive: norm.kernel(x),
            layers: [fc1, fc2],
        };
        return ar_kernels::from_flex(sublayer.forward());
    }
    let (residual, input) = norm.modulated_input(x);
    norm.gated_residual(residual, mlp(input, layers))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::norm::testing::adaptive_norms;
    use burn::module::Param;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn the_kernel_of_the_sublayer_agrees_with_plain_operations() {
        let device = Device::flex();
        let normal = |len| Tensor::<1>::random([len], Distribution::Normal(0.0, 1.0), &device);
        let layer = |[inputs, outputs]: [usize; 2]| Linear {
            weight: Param::from_tensor(normal(inputs * outputs).reshape([inputs, outputs])),
            bias: Some(Param::from_tensor(normal(outputs))),
        };
        // Hidden channels that divide among the parts evenly, unevenly, or not among all; one tile,
        // some, or many.
        for hidden in [32, 30, 5, 1] {
            let (fc1, fc2) = (layer([8, hidden]), layer([hidden, 8]));
            for tokens in [1, 50, 100] {
                let shape = [2, 3, tokens, 8];
                // Parts of larger tensors, which do not start at the beginning of their memory.
                let modulation = normal(4 * 40).reshape([1, 4, 40]).narrow(1, 1, 3);
                for norm in adaptive_norms(&modulation) {
                    let [_, rest @ ..] = shape;
                    let len: usize = rest.iter().product();
                    let whole = normal(3 * len).reshape([3, rest[0], rest[1], rest[2]]);
                    let before = whole.to_data();
                    let x = whole.clone().narrow(0, 1, 2);
                    let (residual, input) = norm.modulated_input(x.clone());
                    let hidden = gelu_tanh(fc1.forward(input));
                    let expected = norm.gated_residual(residual, fc2.forward(hidden));
                    let output = gated_mlp(x, norm, [&fc1, &fc2]);
                    let size: f32 = expected.clone().abs().max().into_scalar();
                    let error: f32 = (output - expected).abs().max().into_scalar();
                    assert!(error < 1e-5 * size, "{error:e} of {size}");
                    assert_eq!(whole.into_data(), before, "somebody else's values");
                }
            }
        }
    }
}
