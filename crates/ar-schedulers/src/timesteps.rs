//! Training timestep samplers: they choose the timestep that each frame of a training clip is corrupted to.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

mod fopp;
#[cfg(test)]
mod oracle;
mod planned;
#[cfg(test)]
mod tests;

pub use planned::{PlannedConfig, PlannedSampler, PlannedTimesteps};

/// How a training clip's timesteps are drawn.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimestepSampler {
    /// One timestep for all frames: plain video diffusion.
    FullSequence,
    /// An independent timestep for every frame: diffusion forcing.
    DiffusionForcing,
    /// Uniform over all non-decreasing sequences.
    ForwardOnly,
    /// Frame-oriented probability propagation, the published sampler: a uniform frame gets a
    /// uniform timestep, and then every non-decreasing completion is equally likely.
    Fopp,
    /// Our own sampler: noise levels along the plans of inference. See [`PlannedSampler`], which can be configured, and
    /// also says which frames belong in the loss.
    Planned,
}

impl TimestepSampler {
    /// Draws the timesteps of one clip, `[frames]`, each in `0..timesteps`.
    ///
    /// The sequences of [`ForwardOnly`](Self::ForwardOnly), [`Fopp`](Self::Fopp) and [`Planned`](Self::Planned) are
    /// non-decreasing. `Planned` uses its default configuration over 50 sampling steps. The cost is O(frames log
    /// frames), whatever the number of timesteps.
    ///
    /// # Panics
    ///
    /// If there are frames but no timesteps, or if `frames + timesteps` overflows.
    pub fn sample<R: Rng + ?Sized>(
        &self,
        frames: usize,
        timesteps: usize,
        rng: &mut R,
    ) -> Vec<usize> {
        self.sample_with(frames, timesteps, |bound| rng.random_range(0..bound))
    }

    /// [`sample`](Self::sample) in terms of `draw(bound)`, a uniform draw from `0..bound`. All
    /// randomness passes through it, so tests can walk every path and add up exact probabilities.
    fn sample_with(
        &self,
        frames: usize,
        timesteps: usize,
        mut draw: impl FnMut(usize) -> usize,
    ) -> Vec<usize> {
        if frames == 0 {
            return Vec::new();
        }
        assert!(timesteps > 0, "{frames} frames need at least one timestep");
        match self {
            Self::FullSequence => vec![draw(timesteps); frames],
            Self::DiffusionForcing => (0..frames).map(|_| draw(timesteps)).collect(),
            Self::ForwardOnly => fopp::sorted_multiset(frames, timesteps, &mut draw),
            Self::Fopp => fopp::sample(frames, timesteps, &mut draw),
            Self::Planned => planned(frames, timesteps, &mut draw),
        }
    }
}

/// A clip of a [`PlannedSampler`] with the default step differences, over 50 steps. If there are too few timesteps for
/// noise in the history, it has none.
fn planned(frames: usize, timesteps: usize, draw: &mut impl FnMut(usize) -> usize) -> Vec<usize> {
    const STEPS: usize = 50;
    if timesteps < 2 {
        return vec![0; frames];
    }
    let default = PlannedConfig::default();
    let config = PlannedConfig {
        history_noise: default.history_noise.min(timesteps - 1),
        ..default
    };
    let sampler = PlannedSampler::new(config, STEPS, timesteps).expect("the default is valid");
    sampler
        .sample_with([1, frames], draw)
        .swap_remove(0)
        .timesteps
}
