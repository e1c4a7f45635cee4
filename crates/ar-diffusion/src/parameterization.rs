use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// What the network predicts (published: [`Parameterization::X0`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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

    /// The scales a and b in `x0 = a x + b output`, which computes the clean latent from a noisy latent and the
    /// network's output. `alpha` is ᾱ at the timestep.
    pub fn x0_scales(self, alpha: f64) -> [f64; 2] {
        let noise_scale = (1.0 - alpha).sqrt();
        match self {
            Self::X0 => [0.0, 1.0],
            Self::Eps => [1.0 / alpha.sqrt(), -noise_scale / alpha.sqrt()],
            Self::V => [alpha.sqrt(), -noise_scale],
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_target_stands_for_the_clean_latent() {
        let (x0, noise) = (0.7, -1.3);
        let device = Device::flex();
        for parameterization in [
            Parameterization::X0,
            Parameterization::Eps,
            Parameterization::V,
        ] {
            for alpha in [0.01_f64, 0.5, 0.999] {
                let [x0_tensor, noise_tensor, alpha_tensor] =
                    [x0, noise, alpha].map(|value| Tensor::full([1; 4], value, &device));
                let target = parameterization.target(x0_tensor, noise_tensor, alpha_tensor);
                let target: f32 = target.into_scalar();
                let x = alpha.sqrt() * x0 + (1.0 - alpha).sqrt() * noise;
                let [of_x, of_target] = parameterization.x0_scales(alpha);
                let error = of_x * x + of_target * f64::from(target) - x0;
                assert!(error.abs() < 1e-5, "{parameterization:?}, {alpha}: {error}");
            }
        }
    }
}
