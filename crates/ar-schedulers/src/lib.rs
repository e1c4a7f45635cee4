//! Noise schedules, DDIM steps, training timestep samplers and the adaptive-difference (AD)
//! inference plan of AR-Diffusion; pure arithmetic, no tensor library.
//!
//! The method: Sun et al., "AR-Diffusion: Asynchronous Video Generation with
//! Auto-Regressive Diffusion", CVPR 2025 (arXiv 2503.07418). Every frame of a clip has its own
//! timestep, and an earlier frame is never noisier than a later one:
//!
//! - [`NoiseSchedule`]: how much of a frame's signal is left at a timestep;
//! - [`TimestepSampler`]: the timesteps a training clip is corrupted with;
//! - [`DdimSchedule`]: the timesteps that sampling walks down, with their coefficients;
//! - [`AdPlan`]: which frame takes which of those steps at which iteration.
//!
//! Here, a video of four frames is sampled in five steps, and each frame starts two iterations after the frame before
//! it. A row of the picture is an iteration and shows the timesteps that the network gets.
//!
//! ```
//! use ar_schedulers::{AdConfig, AdPlan, DdimSchedule, NoiseScheduleConfig};
//!
//! let noise = NoiseScheduleConfig::default().init()?;
//! let ddim = DdimSchedule::new(&noise, 5, 0.0)?;
//! let plan = AdPlan::new(AdConfig { steps: 5, ar_step: 2, frames: 4, window: 4 })?;
//!
//! let picture: Vec<String> = plan
//!     .iter()
//!     .map(|row| {
//!         let fed = |frame| ddim.fed_timestep(plan.state(row.iteration, frame));
//!         row.window.map(|frame| format!("{:>4}", fed(frame))).collect()
//!     })
//!     .collect();
//!
//! assert_eq!(picture, [
//!     " 801 999 999 999", // frame 0 starts, the others wait as pure noise
//!     " 601 999 999 999",
//!     " 401 801 999 999", // frame 1 follows two steps behind
//!     " 201 601 999 999",
//!     "   1 401 801 999", // the last step of frame 0
//!     "   1 201 601 999",
//!     "   1   1 401 801",
//!     "   1   1 201 601",
//!     "   1   1   1 401",
//!     "   1   1   1 201",
//!     "   1   1   1   1",
//! ]);
//!
//! // Recomputing every frame takes 44 frame evaluations; only 20 of them change anything.
//! assert_eq!((plan.frames_evaluated(), plan.frames_active()), (44, 20));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

mod ad_plan;
mod ddim;
mod error;
mod noise_schedule;
mod timesteps;

pub use ad_plan::{AdConfig, AdIteration, AdPlan, FrameState};
pub use ddim::{DdimSchedule, DdimStep};
pub use error::{PlanError, PlannedError, ScheduleError};
pub use noise_schedule::{BetaSchedule, NoiseSchedule, NoiseScheduleConfig};
pub use timesteps::{PlannedConfig, PlannedSampler, PlannedTimesteps, TimestepSampler};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
