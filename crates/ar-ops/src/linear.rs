//! Linear layers, initialised as in the reference.

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::nn::{Initializer, Linear};
use burn::tensor::{DType, Device, Tensor, module};

#[cfg(feature = "flex")]
use ar_kernels::linear::LinearOps;

/// A linear layer whose weight is drawn from `initializer` and whose bias is zero.
pub fn linear(
    [d_input, d_output]: [usize; 2],
    initializer: Initializer,
    device: &Device,
) -> Linear {
    Linear {
        weight: initializer.init_with([d_input, d_output], Some(d_input), Some(d_output), device),
        bias: Some(Initializer::Zeros.init([d_output], device)),
    }
}

/// Applies a linear layer: `Linear::forward`, faster on the CPU. If the weight is in bf16 and `x` in f32, the CPU computes
/// the products in bf16, with sums in f32, where it has instructions for them.
///
/// # Shapes
/// - `x`: `[.., d_input]`
/// - output: `[.., d_output]`
pub fn apply<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(bias) = &layer.bias
        && ar_kernels::covers(&x)
    {
        let (weight, bias) = (layer.weight.val(), bias.val());
        let output = Dispatch::linear_biased(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
        );
        return Tensor::from_dispatch(output);
    }
    let weight = layer.weight.val().cast(x.dtype());
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    module::linear(x, weight, bias)
}

/// Whether [`apply`] takes weights in bf16 with `x` in f32 on this device without converting them: on the CPU.
pub fn multiplies_bf16(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return ar_kernels::is_covered(device);
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// The precision that a layer computes in: the precision of its bias. Its weight may be narrower.
pub fn dtype(layer: &Linear) -> DType {
    let bias = layer.bias.as_ref().map(|bias| bias.val().dtype());
    bias.unwrap_or_else(|| layer.weight.val().dtype())
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::module::{Param, ParamId};

    #[test]
    fn the_kernel_agrees_with_plain_operations() {
        type Apply = fn(&Linear, Tensor<3>) -> Tensor<3>;
        let functions: [Apply; 2] = [apply, |layer, x| layer.forward(x)];
        let [fused, plain] = functions.map(|function| {
            move |[x, weight, bias]: [Tensor<1>; 3]| {
                let layer = Linear {
                    weight: Param::initialized(ParamId::new(), weight.reshape([24, 36])),
                    bias: Some(Param::initialized(ParamId::new(), bias)),
                };
                function(&layer, x.reshape([3, 7, 24])).flatten(0, 2)
            }
        });
        crate::testing::agree([3 * 7 * 24, 24 * 36, 36], fused, plain);
    }
}
