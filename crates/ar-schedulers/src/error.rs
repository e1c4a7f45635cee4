//! Errors in configurations: what is wrong, and what would be right.

use thiserror::Error;

/// The most timesteps a schedule may have: a mistyped configuration fails instead of allocating.
pub(crate) const MAX_TIMESTEPS: usize = 1_000_000;

/// A noise or DDIM schedule that cannot be built.
#[derive(Error, Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The number of timesteps is too small or too large for a table.
    #[error("timesteps is {timesteps}, but must be in 2..={MAX_TIMESTEPS}")]
    Timesteps {
        /// The configured number of timesteps.
        timesteps: usize,
    },

    /// `linear_start` or `linear_end` is not a noise variance.
    #[error("{name} is {value}, but must be greater than 0 and less than 1")]
    Beta {
        /// The field's name.
        name: &'static str,
        /// Its value.
        value: f64,
    },

    /// The betas are so small or so large that the table leaves the open interval (0, 1) or stops
    /// falling in f64; DDIM would divide by zero there.
    #[error(
        "alphas_cumprod is {alpha} at timestep {timestep}, but must fall strictly and stay between \
         0 and 1: use fewer timesteps or betas that are neither as small nor as large"
    )]
    Alpha {
        /// The first timestep with such a value.
        timestep: usize,
        /// The value there.
        alpha: f64,
    },

    /// The number of sampling steps does not fit the noise schedule.
    #[error(
        "{steps} sampling steps asked of {timesteps} timesteps, but steps must be in 1..={}",
        timesteps - 1
    )]
    Steps {
        /// The requested number of sampling steps.
        steps: usize,
        /// The number of timesteps that the noise schedule has.
        timesteps: usize,
    },

    /// `eta` is negative, not finite, or adds more noise than a step can have.
    #[error("eta is {eta}, but must be in 0..={largest} for this schedule (0 is deterministic)")]
    Eta {
        /// The requested value.
        eta: f64,
        /// The largest value for which `1 - alpha_prev - sigma^2 >= 0` at every step; at least 1.
        largest: f64,
    },
}

impl ScheduleError {
    /// The fields of the configuration that caused the error.
    pub fn keys(&self) -> &[&'static str] {
        match self {
            Self::Timesteps { .. } => &["timesteps"],
            Self::Beta { name, .. } => std::slice::from_ref(name),
            Self::Alpha { .. } => &["timesteps", "linear_start", "linear_end"],
            Self::Steps { .. } => &["steps"],
            Self::Eta { .. } => &["eta"],
        }
    }
}

/// An inference plan that cannot be built.
#[derive(Error, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// A count that must be positive is zero.
    #[error("{name} is 0, but must be at least 1")]
    Zero {
        /// The field's name.
        name: &'static str,
    },

    /// Neighbouring frames are further apart than the steps of a frame, so the network would idle.
    #[error(
        "ar_step {ar_step} is larger than the {steps} sampling steps; it must be in 0..={steps}, \
         where {steps} denoises one frame after another"
    )]
    ArStepTooLarge {
        /// The requested step difference.
        ar_step: usize,
        /// The number of sampling steps.
        steps: usize,
    },

    /// The window would slide past frames before they are finished.
    #[error(
        "with ar_step {ar_step} a window of {window} frames slides past frames that have not taken \
         all {steps} steps, and the video has {frames} frames: use ar_step >= {smallest_ar_step}, \
         or a window of all {frames} frames"
    )]
    Unfinished {
        /// The requested step difference.
        ar_step: usize,
        /// The number of sampling steps.
        steps: usize,
        /// The number of frames of the video.
        frames: usize,
        /// The window's length.
        window: usize,
        /// The smallest step difference with which every frame is finished: `ceil(steps / window)` if the window stays
        /// the same.
        smallest_ar_step: usize,
    },

    /// The plan's counts do not fit the machine's integers.
    #[error(
        "{frames} frames at {steps} steps and ar_step {ar_step} are more iterations than this \
         machine can count: use fewer frames"
    )]
    TooLong {
        /// The number of frames of the video.
        frames: usize,
        /// The number of sampling steps.
        steps: usize,
        /// The step difference.
        ar_step: usize,
    },
}

/// A planned timestep sampler that cannot be built.
#[derive(Error, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlannedError {
    /// There is nothing to draw a plan from.
    #[error("ar_steps is empty, but plans need at least one step difference, such as [0, 5, 50]")]
    NoStepDifference,

    /// A step difference is larger than the number of steps.
    #[error(
        "ar_steps has {ar_step}, but a step difference must be in 0..={steps}, the number of \
         sampling steps"
    )]
    ArStepTooLarge {
        /// The step difference.
        ar_step: usize,
        /// The number of sampling steps.
        steps: usize,
    },

    /// The noise of the history is not a timestep of the noise schedule.
    #[error(
        "history_noise is {history_noise}, but must be in 1..={}, a timestep of the noise schedule \
         (1 is a clean history)",
        timesteps - 1
    )]
    HistoryNoise {
        /// The requested level.
        history_noise: usize,
        /// The number of timesteps that the noise schedule has.
        timesteps: usize,
    },
}

impl PlanError {
    /// The fields of the configuration that caused the error.
    pub fn keys(&self) -> &[&'static str] {
        match self {
            Self::Zero { name } => std::slice::from_ref(name),
            Self::ArStepTooLarge { .. } | Self::Unfinished { .. } | Self::TooLong { .. } => {
                &["ar_step", "steps"]
            }
        }
    }
}

impl PlannedError {
    /// The fields of the configuration that caused the error.
    pub fn keys(&self) -> &[&'static str] {
        match self {
            Self::NoStepDifference | Self::ArStepTooLarge { .. } => &["ar_steps"],
            Self::HistoryNoise { .. } => &["history_noise"],
        }
    }
}
