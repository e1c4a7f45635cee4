//! Comparison of kernels with Burn's own operations.

use burn::tensor::{Device, Distribution, Tensor};

/// Asserts that two functions of vectors of the given lengths agree, and their gradients too.
///
/// Both are sums of a few hundred terms at most, in another order: 1e-5 of the largest value.
pub(crate) fn agree<const N: usize>(
    lengths: [usize; N],
    fused: impl Fn([Tensor<1>; N]) -> Tensor<1>,
    plain: impl Fn([Tensor<1>; N]) -> Tensor<1>,
) {
    let device = Device::flex();
    device.seed(0);
    let normal = |len| Tensor::<1>::random([len], Distribution::Normal(0.0, 1.0), &device);
    let inputs = lengths.map(normal);
    let weights = normal(plain(inputs.clone()).dims()[0]);
    close(fused(inputs.clone()), plain(inputs.clone()), "untracked");

    let run = |function: &dyn Fn([Tensor<1>; N]) -> Tensor<1>| {
        let inputs = inputs.clone().map(|input| input.autodiff().require_grad());
        let output = function(inputs.clone());
        let weights = weights.clone().autodiff();
        let gradients = (output.clone() * weights).sum().backward();
        let gradient = |input: Tensor<1>| input.grad(&gradients).expect("a gradient");
        (output.inner(), inputs.map(gradient))
    };
    let (fused, fused_gradients) = run(&fused);
    let (plain, plain_gradients) = run(&plain);
    close(fused, plain, "value");
    for (index, (fused, plain)) in fused_gradients.into_iter().zip(plain_gradients).enumerate() {
        close(fused, plain, &format!("gradient of input {index}"));
    }
}

fn close(actual: Tensor<1>, expected: Tensor<1>, what: &str) {
    let size: f32 = expected.clone().abs().max().into_scalar();
    let error: f32 = (actual - expected).abs().max().into_scalar();
    assert!(error <= 1e-5 * size.max(1.0), "{what}: {error} of {size}");
}
