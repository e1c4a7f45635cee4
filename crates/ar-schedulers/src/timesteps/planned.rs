//! Noise levels along the plans of inference.

use std::ops::Range;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::PlannedError;

/// Distinct positions that a draw of [`PlannedSampler`] can take within its stratum.
const POSITIONS: usize = 1 << 31;

/// Configuration of a [`PlannedSampler`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlannedConfig {
    /// Step differences s that a plan's is drawn from, all equally likely; one that is listed twice is twice as likely.
    /// Each is in `0..=S`, where S is the number of sampling steps.
    pub ar_steps: Vec<usize>,
    /// The largest timestep of finished frames. Each clip draws its own from 1 to this, so that the network learns not
    /// to trust a history completely: in sampling, the history contains the network's own errors. 1 leaves histories as
    /// clean as in sampling.
    pub history_noise: usize,
}

impl Default for PlannedConfig {
    fn default() -> Self {
        Self {
            ar_steps: vec![0, 1, 2, 5, 10, 25, 50],
            history_noise: 100,
        }
    }
}

/// Draws the timesteps of training clips from the plans that sampling follows ([`AdPlan`]), so that a network sees in
/// training what it sees in sampling.
///
/// A plan has a step difference s, drawn from [`PlannedConfig::ar_steps`], and a position u, a real number drawn
/// uniformly from `0..S + s (F - 1)`. Frame i is at step `u - s i`. Below 0 it waits, at timestep T - 1; from S on it
/// is finished; in between it is active, and its timestep falls linearly from T - 1 to 0. An active frame's timestep is
/// therefore uniformly distributed, wherever it is in the clip, whereas [`Fopp`](crate::TimestepSampler::Fopp) gives
/// first frames little noise, and last frames little else.
///
/// [`AdPlan`]: crate::AdPlan
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSampler {
    steps: usize,
    timesteps: usize,
    config: PlannedConfig,
}

/// The noise of one training clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTimesteps {
    /// The timestep of every frame, never decreasing.
    pub timesteps: Vec<usize>,
    /// The frames that take steps, at least one. Only they belong in the loss: frames before them are the history, and
    /// frames after them wait.
    pub active: Range<usize>,
}

impl PlannedSampler {
    /// A sampler for plans of `steps` sampling steps over `timesteps` diffusion timesteps.
    ///
    /// # Errors
    /// If there is no step difference or one is above `steps`, or if `history_noise` is not in
    /// `1..timesteps`.
    pub fn new(
        config: PlannedConfig,
        steps: usize,
        timesteps: usize,
    ) -> Result<Self, PlannedError> {
        if config.ar_steps.is_empty() {
            return Err(PlannedError::NoStepDifference);
        }
        if let Some(&ar_step) = config.ar_steps.iter().find(|&&ar_step| ar_step > steps) {
            return Err(PlannedError::ArStepTooLarge { ar_step, steps });
        }
        if !(1..timesteps).contains(&config.history_noise) {
            return Err(PlannedError::HistoryNoise {
                history_noise: config.history_noise,
                timesteps,
            });
        }
        Ok(Self {
            steps,
            timesteps,
            config,
        })
    }

    /// Draws one plan for `clips` clips of `frames` frames.
    ///
    /// All clips share the step difference. The plan is divided into as many equal stretches as there are clips, and
    /// the position of clip i is uniform in stretch i. Every position of the plan is as likely as with independent
    /// draws, a training step covers all of the plan, and neighbouring clips have about the same number of waiting
    /// frames, so a batch of them can be cut after its last active frame.
    pub fn sample<R: Rng + ?Sized>(
        &self,
        [clips, frames]: [usize; 2],
        rng: &mut R,
    ) -> Vec<PlannedTimesteps> {
        self.sample_with([clips, frames], |bound| rng.random_range(0..bound))
    }

    /// [`sample`](Self::sample) in terms of `draw(bound)`, a uniform draw from `0..bound`.
    pub(super) fn sample_with(
        &self,
        [clips, frames]: [usize; 2],
        mut draw: impl FnMut(usize) -> usize,
    ) -> Vec<PlannedTimesteps> {
        if frames == 0 {
            return Vec::new();
        }
        let ar_step = self.config.ar_steps[draw(self.config.ar_steps.len())];
        let length = (self.steps + ar_step * (frames - 1)) as f64;
        (0..clips)
            .map(|clip| {
                let within = draw(POSITIONS) as f64 / POSITIONS as f64;
                let position = (clip as f64 + within) / clips as f64 * length;
                // Rounding may reach the end, where every frame is finished.
                let position = position.min(length.next_down());
                let history = 1 + draw(self.config.history_noise);
                self.at(ar_step, position, frames, history)
            })
            .collect()
    }

    /// The timesteps of a clip at `position` of a plan, with finished frames at timestep `history` or below.
    fn at(&self, ar_step: usize, position: f64, frames: usize, history: usize) -> PlannedTimesteps {
        let (steps, last) = (self.steps as f64, self.timesteps - 1);
        let age = |frame: usize| position - (ar_step * frame) as f64;
        let first = (0..frames)
            .find(|&frame| age(frame) < steps)
            .expect("the position is before the end of the plan");
        let waiting = (first..frames)
            .find(|&frame| age(frame) < 0.0)
            .unwrap_or(frames);
        let active = |frame: usize| {
            let left = self.timesteps as f64 * (steps - age(frame)) / steps;
            (left as usize).min(last)
        };
        // A history is never noisier than what follows it.
        let history = history.min(active(first));
        let timesteps = (0..frames).map(|frame| match frame {
            frame if frame < first => history,
            frame if frame < waiting => active(frame),
            _ => last,
        });
        PlannedTimesteps {
            timesteps: timesteps.collect(),
            active: first..waiting,
        }
    }
}
