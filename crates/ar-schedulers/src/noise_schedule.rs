//! Noise schedules: how much of a frame's signal is left at each training timestep.

use std::f64::consts::FRAC_PI_2;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{MAX_TIMESTEPS, ScheduleError};

/// The offset `s` of the squared-cosine schedule, which keeps the first betas away from zero.
const COSINE_OFFSET: f64 = 8e-3;

/// The largest beta of the squared-cosine schedule, which would otherwise end at 1.
const COSINE_MAX_BETA: f64 = 0.999;

/// The shape of the betas over the timesteps.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BetaSchedule {
    /// The *square roots* of the betas are linear. This is the latent-diffusion convention, which every published
    /// configuration uses.
    Linear,
    /// The betas are linear. (The name is the reference's, although it is misleading.)
    SqrtLinear,
    /// The betas are the square roots of linearly spaced values.
    Sqrt,
    /// alphas_cumprod is a squared cosine; `linear_start` and `linear_end` are ignored.
    Cosine,
}

/// Configuration of a [`NoiseSchedule`]; the default is the published one.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseScheduleConfig {
    /// The shape of the betas over the timesteps.
    pub beta_schedule: BetaSchedule,
    /// The number of timesteps T, at least 2.
    pub timesteps: usize,
    /// Where the line that defines the betas starts: beta at timestep 0 for
    /// [`Linear`](BetaSchedule::Linear) and [`SqrtLinear`](BetaSchedule::SqrtLinear).
    pub linear_start: f64,
    /// Where that line ends: beta at timestep T - 1.
    pub linear_end: f64,
}

impl Default for NoiseScheduleConfig {
    fn default() -> Self {
        Self {
            beta_schedule: BetaSchedule::Linear,
            timesteps: 1000,
            linear_start: 1e-4,
            linear_end: 2e-2,
        }
    }
}

impl NoiseScheduleConfig {
    /// Computes the table: the cumulative product of `1 - beta` in f64.
    ///
    /// # Errors
    ///
    /// If `timesteps` is less than 2 or more than a million, if `linear_start` or `linear_end` is outside (0, 1), or if
    /// the table underflows.
    pub fn init(&self) -> Result<NoiseSchedule, ScheduleError> {
        self.validate()?;
        let mut alphas_cumprod = Vec::with_capacity(self.timesteps);
        let mut previous = 1.0;
        for timestep in 0..self.timesteps {
            let alpha = previous * (1.0 - self.beta(timestep));
            if !(alpha > 0.0 && alpha < previous) {
                return Err(ScheduleError::Alpha { timestep, alpha });
            }
            alphas_cumprod.push(alpha);
            previous = alpha;
        }
        Ok(NoiseSchedule { alphas_cumprod })
    }

    fn validate(&self) -> Result<(), ScheduleError> {
        let timesteps = self.timesteps;
        if !(2..=MAX_TIMESTEPS).contains(&timesteps) {
            return Err(ScheduleError::Timesteps { timesteps });
        }
        if self.beta_schedule == BetaSchedule::Cosine {
            return Ok(());
        }
        for (name, value) in [
            ("linear_start", self.linear_start),
            ("linear_end", self.linear_end),
        ] {
            // Written so that NaN is refused too.
            if !(value > 0.0 && value < 1.0) {
                return Err(ScheduleError::Beta { name, value });
            }
        }
        Ok(())
    }

    /// The variance of the noise that `timestep` adds.
    fn beta(&self, timestep: usize) -> f64 {
        let (start, end) = (self.linear_start, self.linear_end);
        let total = self.timesteps as f64;
        let line = |start: f64, end: f64| start + (end - start) * timestep as f64 / (total - 1.0);
        match self.beta_schedule {
            BetaSchedule::Linear => line(start.sqrt(), end.sqrt()).powi(2),
            BetaSchedule::SqrtLinear => line(start, end),
            BetaSchedule::Sqrt => line(start, end).sqrt(),
            BetaSchedule::Cosine => {
                let signal = |t: f64| {
                    let angle = (t / total + COSINE_OFFSET) / (1.0 + COSINE_OFFSET) * FRAC_PI_2;
                    angle.cos().powi(2)
                };
                let t = timestep as f64;
                (1.0 - signal(t + 1.0) / signal(t)).clamp(0.0, COSINE_MAX_BETA)
            }
        }
    }
}

/// The table of alphas_cumprod, `abar[t]`: the share of a frame's variance that is signal.
///
/// A frame z at timestep t is `sqrt(abar[t]) z + sqrt(1 - abar[t]) eps` with standard normal eps. The values decrease
/// strictly and are strictly between 0 and 1; the last one is not zero, so even the noisiest training input contains a
/// trace of signal.
#[derive(Clone, PartialEq)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f64>,
}

impl NoiseSchedule {
    /// The number of timesteps T.
    pub fn timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// The whole table, `[timesteps]`.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// `abar[t]`.
    ///
    /// # Panics
    ///
    /// If `t` is not a timestep of this schedule.
    pub fn alpha_cumprod(&self, t: usize) -> f64 {
        assert!(
            t < self.timesteps(),
            "timestep {t} of a schedule with {} timesteps",
            self.timesteps()
        );
        self.alphas_cumprod[t]
    }
}

/// Short, so that a failed assertion does not print a thousand values.
impl fmt::Debug for NoiseSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.timesteps() - 1;
        f.debug_struct("NoiseSchedule")
            .field("timesteps", &self.timesteps())
            .field("alphas_cumprod[0]", &self.alphas_cumprod[0])
            .field("alphas_cumprod[T - 1]", &self.alphas_cumprod[last])
            .finish()
    }
}
