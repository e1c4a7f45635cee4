//! Comparison of kernels with Burn's own operations.

#[cfg(feature = "wgpu")]
use burn::tensor::DeviceKind;
use burn::tensor::{Device, Distribution, Tensor};

/// The devices that have kernels: the CPU, and with the feature `wgpu` the software adapter of a
/// Vulkan driver such as Mesa's.
pub(crate) fn devices() -> Vec<Device> {
    vec![
        Device::flex(),
        #[cfg(feature = "wgpu")]
        Device::wgpu(DeviceKind::Cpu),
    ]
}

/// Asserts that two functions of vectors of the given lengths agree in values and gradients: one on
/// every device that has kernels, the other on the CPU.
///
/// Both are sums of at most a few hundred terms in different orders, so the tolerance is 1e-5 of
/// the largest value.
pub(crate) fn agree<const N: usize>(
    lengths: [usize; N],
    fused: impl Fn([Tensor<1>; N]) -> Tensor<1>,
    plain: impl Fn([Tensor<1>; N]) -> Tensor<1>,
) {
    let cpu = Device::flex();
    cpu.seed(0);
    let normal = |len| Tensor::<1>::random([len], Distribution::Normal(0.0, 1.0), &cpu);
    let inputs = lengths.map(normal);
    let expected = plain(inputs.clone());
    let weights = normal(expected.dims()[0]);

    let run = |function: &dyn Fn([Tensor<1>; N]) -> Tensor<1>, device: &Device| {
        let on_device = |x: &Tensor<1>| x.clone().to_device(device);
        let inputs = inputs.each_ref().map(on_device);
        let inputs = inputs.map(|input| input.autodiff().require_grad());
        let output = function(inputs.clone());
        let weights = on_device(&weights).autodiff();
        let gradients = (output.clone() * weights).sum().backward();
        let gradient = |input: Tensor<1>| input.grad(&gradients).expect("a gradient");
        (output.inner(), inputs.map(gradient))
    };
    let (value, gradients) = run(&plain, &cpu);
    for device in devices() {
        let untracked = fused(inputs.clone().map(|input| input.to_device(&device)));
        close(untracked, expected.clone(), "untracked");
        let (fused_value, fused_gradients) = run(&fused, &device);
        close(fused_value, value.clone(), "value");
        for (index, (fused, plain)) in fused_gradients.into_iter().zip(&gradients).enumerate() {
            close(fused, plain.clone(), &format!("gradient of input {index}"));
        }
    }
}

fn close(actual: Tensor<1>, expected: Tensor<1>, what: &str) {
    let actual = actual.to_device(&expected.device());
    let size: f32 = expected.clone().abs().max().into_scalar();
    let error: f32 = (actual - expected).abs().max().into_scalar();
    assert!(error <= 1e-5 * size.max(1.0), "{what}: {error} of {size}");
}
