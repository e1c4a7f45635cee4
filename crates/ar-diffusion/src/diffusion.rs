use ar_schedulers::{NoiseSchedule, NoiseScheduleConfig, ScheduleError};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::Parameterization;

/// The diffusion process that a model is trained under.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionConfig {
    /// What the network predicts.
    pub parameterization: Parameterization,
    /// The noise schedule.
    pub schedule: NoiseScheduleConfig,
}

impl DiffusionConfig {
    /// Computes the tables of the process.
    ///
    /// # Errors
    /// If the noise schedule is impossible.
    pub fn init(&self) -> Result<Diffusion, ScheduleError> {
        Ok(Diffusion {
            parameterization: self.parameterization,
            schedule: self.schedule.init()?,
        })
    }
}

/// A diffusion process with a timestep per frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Diffusion {
    parameterization: Parameterization,
    schedule: NoiseSchedule,
}

impl Diffusion {
    /// What the network predicts.
    pub fn parameterization(&self) -> Parameterization {
        self.parameterization
    }

    /// The noise schedule.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// Corrupts every frame f to its own timestep t_f (paper eq. 4):
    ///
    /// ```text
    /// x_f = √ᾱ[t_f] x0_f + √(1 - ᾱ[t_f]) noise_f
    /// ```
    ///
    /// # Shapes
    /// - `x0`, `noise` and output: `[batch, frames, tokens, channels]`
    /// - `timesteps`: `batch * frames` values, frames fastest
    pub fn corrupt(&self, x0: Tensor<4>, noise: Tensor<4>, timesteps: &[usize]) -> Tensor<4> {
        let alpha = self.alphas(&x0, timesteps);
        alpha.clone().sqrt() * x0 + (-alpha + 1.0).sqrt() * noise
    }

    /// The training target for latents corrupted by [`Diffusion::corrupt`]; see
    /// [`Parameterization`].
    ///
    /// # Shapes
    /// As [`Diffusion::corrupt`].
    pub fn target(&self, x0: Tensor<4>, noise: Tensor<4>, timesteps: &[usize]) -> Tensor<4> {
        let alpha = self.alphas(&x0, timesteps);
        self.parameterization.target(x0, noise, alpha)
    }

    /// The weight of a prediction's squared error at timestep t in the variational bound (Ho et al., 2020, eq. 12). For
    /// the error of the clean latents, it is half of what the step from t to t - 1 adds to the signal-to-noise ratio ᾱ
    /// / (1 - ᾱ). The first step, which adds infinitely much, has the weight of the second.
    ///
    /// # Panics
    /// If `t` is not a timestep of the schedule.
    pub fn vlb_weight(&self, t: usize) -> f64 {
        let t = t.max(1).min(self.schedule.timesteps() - 1);
        let ratio = |t: usize| {
            let alpha = self.schedule.alpha_cumprod(t);
            alpha / (1.0 - alpha)
        };
        let gain = if t == 0 { 0.0 } else { ratio(t - 1) - ratio(t) };
        let alpha = self.schedule.alpha_cumprod(t);
        0.5 * gain
            * match self.parameterization {
                Parameterization::X0 => 1.0,
                Parameterization::Eps => (1.0 - alpha) / alpha,
                Parameterization::V => 1.0 - alpha,
            }
    }

    /// ᾱ of every frame, `[batch, frames, 1, 1]`.
    fn alphas(&self, latents: &Tensor<4>, timesteps: &[usize]) -> Tensor<4> {
        let [batch, frames, ..] = latents.dims();
        let alphas = timesteps.iter().map(|&t| self.schedule.alpha_cumprod(t));
        per_frame(alphas, [batch, frames], &latents.device())
    }
}

/// One number per frame as `[batch, frames, 1, 1]`, which broadcasts against latents.
pub(crate) fn per_frame(
    values: impl Iterator<Item = f64>,
    [batch, frames]: [usize; 2],
    device: &Device,
) -> Tensor<4> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, [batch, frames, 1, 1]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_ancestral_sampling() {
        let of = |parameterization| {
            let config = DiffusionConfig {
                parameterization,
                ..DiffusionConfig::default()
            };
            config.init().expect("the default")
        };
        let [x0, eps, v] = [
            Parameterization::X0,
            Parameterization::Eps,
            Parameterization::V,
        ]
        .map(of);
        let abar = |t| x0.schedule().alpha_cumprod(t);
        for t in [1, 2, 10, 500, 999] {
            // Ho et al., eq. 12, with the variance of the posterior: b^2 / (2 s^2 a (1 - abar)).
            let alpha = abar(t) / abar(t - 1);
            let beta = 1.0 - alpha;
            let variance = beta * (1.0 - abar(t - 1)) / (1.0 - abar(t));
            let expected = beta * beta / (2.0 * variance * alpha * (1.0 - abar(t)));
            let found = eps.vlb_weight(t);
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{t}: {found} {expected}"
            );
            // Squared errors of x0, eps and v relate as (1 - abar) / abar : 1 : 1 / abar.
            let of_eps = |weight: f64, squares: f64| weight / squares;
            for (found, squares) in [
                (x0.vlb_weight(t), (1.0 - abar(t)) / abar(t)),
                (v.vlb_weight(t), 1.0 / abar(t)),
            ] {
                let ratio = of_eps(expected, squares) / found;
                assert!((ratio - 1.0).abs() < 1e-9, "{t}: {ratio}");
            }
        }
        assert_eq!(x0.vlb_weight(0), x0.vlb_weight(1));
    }
}
