use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What the network predicts (published: [`Parameterization::X0`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameterization {
    /// The clean latent.
    #[default]
    X0,
    /// The noise.
    Eps,
    /// `v = √ᾱ eps - √(1 - ᾱ) x0` (Salimans and Ho, 2022).
    V,
}

impl Parameterization {
    /// The training target. `alpha` is ᾱ at the timestep, broadcast against the latents.
    pub fn target(self, x0: Tensor<4>, noise: Tensor<4>, alpha: Tensor<4>) -> Tensor<4> {
        match self {
            Self::X0 => x0,
            Self::Eps => noise,
            Self::V => alpha.clone().sqrt() * noise - (-alpha + 1.0).sqrt() * x0,
        }
    }

    /// The clean latent that a network output at `x` stands for. `alpha` is ᾱ at the timestep,
    /// broadcast against the latents.
    pub fn x0(self, output: Tensor<4>, x: Tensor<4>, alpha: Tensor<4>) -> Tensor<4> {
        let noise_scale = (-alpha.clone() + 1.0).sqrt();
        match self {
            Self::X0 => output,
            Self::Eps => (x - noise_scale * output) / alpha.sqrt(),
            Self::V => alpha.sqrt() * x - noise_scale * output,
        }
    }
}
