use ar_ops::{
    linear::linear,
    mlp::{gated_mlp, mlp},
    norm::AdaptiveNorm,
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Tensor};

/// Two linear layers around a tanh-GELU. Checkpoint keys `mlp.fc1`, `mlp.fc2`.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    /// An MLP of `width -> hidden -> width`, Xavier-uniform.
    pub fn new(width: usize, hidden: usize, device: &Device) -> Self {
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        Self {
            fc1: linear([width, hidden], xavier.clone(), device),
            fc2: linear([hidden, width], xavier, device),
        }
    }

    /// # Shapes
    /// - `x` and output: `[.., width]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        mlp(x, [&self.fc1, &self.fc2])
    }

    /// The MLP sub-layer; see [`gated_mlp`].
    pub(crate) fn forward_gated(&self, x: Tensor<4>, norm: AdaptiveNorm) -> Tensor<4> {
        gated_mlp(x, norm, [&self.fc1, &self.fc2])
    }
}
