//! Training timestep samplers: the timestep that each frame of a training clip is corrupted to.

use std::collections::BTreeSet;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

pub use planned::{PlannedConfig, PlannedSampler, PlannedTimesteps};

#[cfg(test)]
mod oracle;
mod planned;
#[cfg(test)]
mod tests;

/// How a training clip's timesteps are drawn.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
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
    /// Noise levels along the plans of inference, ours; see [`PlannedSampler`], which also says which
    /// frames belong in the loss and takes a configuration.
    Planned,
}

impl TimestepSampler {
    /// Draws the timesteps of one clip, `[frames]`, each in `0..timesteps`.
    ///
    /// [`ForwardOnly`](Self::ForwardOnly), [`Fopp`](Self::Fopp) and [`Planned`](Self::Planned) give
    /// non-decreasing sequences, `Planned` by the default configuration over 50 sampling steps. The
    /// cost is O(frames log frames) whatever the number of timesteps.
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
            Self::ForwardOnly => sorted_multiset(frames, timesteps, &mut draw),
            Self::Fopp => fopp(frames, timesteps, &mut draw),
            Self::Planned => planned(frames, timesteps, &mut draw),
        }
    }
}

/// A clip of a [`PlannedSampler`] with the default step differences, which are out of 50 steps. Where
/// there are too few timesteps for noise in the history, it has none.
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

/// Frame-oriented probability propagation in closed form.
///
/// The paper extends the sequence frame by frame from the given one, with transition
/// probabilities from two tables of completion counts. That makes every completion equally
/// likely, so the earlier frames are a uniform multiset of `0..=t`, sorted, and the later ones a
/// uniform multiset of `t..timesteps`, sorted: no tables, whose counts overflow f64 near 300
/// frames.
fn fopp(frames: usize, timesteps: usize, draw: &mut impl FnMut(usize) -> usize) -> Vec<usize> {
    let frame = draw(frames);
    let t = draw(timesteps);
    let mut sequence = Vec::with_capacity(frames);
    sequence.extend(sorted_multiset(frame, t + 1, draw));
    sequence.push(t);
    let later = sorted_multiset(frames - 1 - frame, timesteps - t, draw);
    sequence.extend(later.into_iter().map(|above| t + above));
    sequence
}

/// A uniformly random multiset of `size` from `0..values`, in non-decreasing order.
///
/// Stars and bars: adding `0, 1, .., size - 1` to a non-decreasing sequence makes it strictly
/// increasing, which maps the multisets one to one onto the `size`-subsets of
/// `0..values + size - 1`.
fn sorted_multiset(
    size: usize,
    values: usize,
    draw: &mut impl FnMut(usize) -> usize,
) -> Vec<usize> {
    let universe = values
        .checked_add(size)
        .unwrap_or_else(|| panic!("{size} frames and {values} timesteps overflow"))
        - 1;
    let subset = random_subset(size, universe, draw);
    subset
        .into_iter()
        .enumerate()
        .map(|(i, value)| value - i)
        .collect()
}

/// A uniformly random `size`-subset of `0..universe`, by Floyd's algorithm: O(size log size)
/// however large the universe is. (Bentley and Floyd, "A sample of brilliance", CACM 1987.)
fn random_subset(
    size: usize,
    universe: usize,
    draw: &mut impl FnMut(usize) -> usize,
) -> BTreeSet<usize> {
    let mut subset = BTreeSet::new();
    for last in universe - size..universe {
        if !subset.insert(draw(last + 1)) {
            subset.insert(last);
        }
    }
    subset
}
