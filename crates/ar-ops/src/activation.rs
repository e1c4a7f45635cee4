//! Activations.

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::tensor::{
    Tensor,
    activation::{self, sigmoid},
};

#[cfg(feature = "flex")]
use ar_kernels::gelu::GeluOps;

/// GELU in its tanh approximation, `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
///
/// Written with the logistic function, which is the same expression
/// (`(1 + tanh(y)) / 2 = σ(2y)`) and several times faster than a scalar tanh on the CPU.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&x) {
        return Tensor::from_dispatch(Dispatch::gelu_tanh(x.into_dispatch()));
    }
    #[cfg(feature = "gpu")]
    if ar_gpu_kernels::covers(&x) {
        return ar_gpu_kernels::gelu::gelu_tanh(x);
    }
    gelu_tanh_plain(x)
}

/// GELU, `x Φ(x)`, with the distribution function Φ of the normal distribution. The same as Burn's,
/// but faster on the CPU.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&x) {
        return Tensor::from_dispatch(Dispatch::gelu_erf(x.into_dispatch()));
    }
    activation::gelu(x)
}

fn gelu_tanh_plain<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let two_sqrt_2_over_pi = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let slope = x
        .clone()
        .square()
        .mul_scalar(0.044715 * two_sqrt_2_over_pi)
        .add_scalar(two_sqrt_2_over_pi);
    x.clone() * sigmoid(x * slope)
}

/// Hyperbolic tangent as `2 σ(2x) - 1`, which the CPU backend computes several times faster than
/// its scalar tanh.
pub fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    sigmoid(x.mul_scalar(2.0)).mul_scalar(2.0).sub_scalar(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn equals_the_textbook_expression() {
        let xs: Vec<f32> = (-80..=80).map(|i| i as f32 / 10.0).collect();
        let expected: Vec<f64> = xs
            .iter()
            .map(|&x| {
                let x = f64::from(x);
                let y = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + y.tanh())
            })
            .collect();
        let actual = gelu_tanh(Tensor::<1>::from_floats(xs.as_slice(), &Device::flex()));
        for (a, e) in actual.into_data().iter::<f32>().zip(expected) {
            // One rounding of f32 at the largest value (8).
            assert!((f64::from(a) - e).abs() < 1e-6, "{a} against {e}");
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_agrees_with_plain_operations() {
        let wide = |[x]: [Tensor<1>; 1]| [x.mul_scalar(4.0)];
        crate::testing::agree(
            [1003],
            |x| gelu_tanh(wide(x)[0].clone()),
            |x| gelu_tanh_plain(wide(x)[0].clone()),
        );
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_of_the_exact_gelu_agrees_with_plain_operations() {
        let wide = |[x]: [Tensor<1>; 1]| [x.mul_scalar(2.0)];
        crate::testing::agree(
            [1003],
            |x| gelu(wide(x)[0].clone()),
            |x| activation::gelu(wide(x)[0].clone()),
        );
    }
}
