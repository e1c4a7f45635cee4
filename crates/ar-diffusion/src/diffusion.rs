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

    /// ᾱ of every frame, `[batch, frames, 1, 1]`.
    fn alphas(&self, latents: &Tensor<4>, timesteps: &[usize]) -> Tensor<4> {
        let [batch, frames, ..] = latents.dims();
        let alphas = timesteps.iter().map(|&t| self.schedule.alpha_cumprod(t));
        per_frame(alphas, [batch, frames], &latents.device())
    }
}

/// One number a frame as `[batch, frames, 1, 1]`, which broadcasts against latents.
pub(crate) fn per_frame(
    values: impl Iterator<Item = f64>,
    [batch, frames]: [usize; 2],
    device: &Device,
) -> Tensor<4> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, [batch, frames, 1, 1]), device)
}
