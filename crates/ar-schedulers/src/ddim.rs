//! DDIM steps: the timesteps that sampling walks down, with the coefficients of each update.

use std::fmt;

use crate::{FrameState, NoiseSchedule, ScheduleError};

/// How far rounding may take `eta` beyond its bound. The bound is a square root of quotients of f64 differences, which
/// are accurate to about 1e-12.
const ETA_SLACK: f64 = 1e-12;

/// One update of a frame, from its timestep to the next smaller one (Song et al., 2021, eq. 12).
///
/// With x0 the predicted clean frame,
///
/// ```text
/// eps = (x / sqrt(alpha) - x0) / sqrt(1 / alpha - 1)
/// x'  = sqrt(alpha_prev) x0 + direction eps + sigma noise
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DdimStep {
    /// The timestep of the frame before the update, which the network gets.
    pub timestep: usize,
    /// alphas_cumprod at `timestep`.
    pub alpha: f64,
    /// alphas_cumprod after the update. The last step ends at timestep 0, not at 1.0.
    pub alpha_prev: f64,
    /// The scale of the fresh noise; 0 if eta is 0.
    pub sigma: f64,
}

impl DdimStep {
    /// The scale of eps in the update, `sqrt(1 - alpha_prev - sigma^2)`.
    pub fn direction(&self) -> f64 {
        // At the largest eta the difference is zero up to rounding, on either side.
        (1.0 - self.alpha_prev - self.sigma * self.sigma)
            .max(0.0)
            .sqrt()
    }
}

/// The steps that take a frame from noise to sample, in sampling order: step 0 is the noisiest.
#[derive(Clone, PartialEq)]
pub struct DdimSchedule {
    steps: Vec<DdimStep>,
    waiting_timestep: usize,
}

impl DdimSchedule {
    /// Spaces `steps` timesteps evenly, at `floor(i T / steps) + 1`, and computes their coefficients.
    ///
    /// `eta` scales the fresh noise of each step, from none (0, DDIM) to ancestral sampling (1, DDPM): `sigma = eta
    /// sqrt((1 - alpha_prev) / (1 - alpha) (1 - alpha / alpha_prev))`.
    ///
    /// # Errors
    ///
    /// If `steps` is not in `1..T`, or if `eta` is negative, not finite, or so large that
    /// `1 - alpha_prev - sigma^2` is negative at some step (never for `eta <= 1`).
    pub fn new(noise: &NoiseSchedule, steps: usize, eta: f64) -> Result<Self, ScheduleError> {
        let timesteps = noise.timesteps();
        if !(1..timesteps).contains(&steps) {
            return Err(ScheduleError::Steps { steps, timesteps });
        }
        let timestep = |i: usize| spaced_timestep(i, steps, timesteps);
        let mut schedule: Vec<DdimStep> = (0..steps)
            .rev()
            .map(|i| {
                let alpha_prev = if i == 0 {
                    noise.alpha_cumprod(0)
                } else {
                    noise.alpha_cumprod(timestep(i - 1))
                };
                DdimStep {
                    timestep: timestep(i),
                    alpha: noise.alpha_cumprod(timestep(i)),
                    alpha_prev,
                    sigma: 0.0,
                }
            })
            .collect();

        // sigma^2 <= 1 - alpha_prev, solved for eta, at the tightest step.
        let largest = schedule
            .iter()
            .map(|step| ((1.0 - step.alpha) / (1.0 - step.alpha / step.alpha_prev)).sqrt())
            .fold(f64::INFINITY, f64::min);
        if !(eta.is_finite() && eta >= 0.0 && eta <= largest * (1.0 + ETA_SLACK)) {
            return Err(ScheduleError::Eta { eta, largest });
        }
        for step in &mut schedule {
            let posterior =
                (1.0 - step.alpha_prev) / (1.0 - step.alpha) * (1.0 - step.alpha / step.alpha_prev);
            step.sigma = eta * posterior.sqrt();
        }
        Ok(Self {
            steps: schedule,
            waiting_timestep: timesteps - 1,
        })
    }

    /// The number of steps, at least 1.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a schedule always has at least one step"
    )]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// The step that takes a frame from step index `k` to `k + 1`.
    ///
    /// # Panics
    ///
    /// If `k` is not less than [`len`](Self::len).
    pub fn step(&self, k: usize) -> DdimStep {
        assert!(
            k < self.len(),
            "step {k} of a schedule with {} steps",
            self.len()
        );
        self.steps[k]
    }

    /// All steps in sampling order, noisiest first.
    pub fn steps(&self) -> &[DdimStep] {
        &self.steps
    }

    /// The timestep that the network gets for a frame that is still pure noise, T - 1.
    pub fn waiting_timestep(&self) -> usize {
        self.waiting_timestep
    }

    /// The timestep that the network gets for a finished frame: the timestep of the last step, 1.
    pub fn finished_timestep(&self) -> usize {
        self.step(self.len() - 1).timestep
    }

    /// The timestep that the network gets for a frame in `state`.
    ///
    /// # Panics
    ///
    /// If the state is from a plan with more steps than this schedule.
    pub fn fed_timestep(&self, state: FrameState) -> usize {
        match state {
            FrameState::Waiting => self.waiting_timestep(),
            FrameState::Active { step } => self.step(step).timestep,
            FrameState::Finished => self.finished_timestep(),
        }
    }
}

/// `floor(i T / S) + 1`, in `1..T` for `i < S < T`.
///
/// The reference uses `range(0, T, T // S) + 1`, which is the same if S divides T; otherwise it yields more than S
/// steps, or a timestep beyond the table.
fn spaced_timestep(i: usize, steps: usize, timesteps: usize) -> usize {
    // In u64, since the product of two in-range counts does not fit the usize of 32-bit targets;
    // the quotient does, being less than `timesteps`.
    (i as u64 * timesteps as u64 / steps as u64) as usize + 1
}

/// Short: the number of steps, and the timesteps of the first and the last.
impl fmt::Debug for DdimSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DdimSchedule")
            .field("steps", &self.len())
            .field("first_timestep", &self.steps[0].timestep)
            .field("last_timestep", &self.finished_timestep())
            .finish_non_exhaustive()
    }
}
