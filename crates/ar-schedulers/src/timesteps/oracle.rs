//! The paper's dynamic programme for FoPP, kept as the oracle for the closed form.
//!
//! Everything except the marginals is exact: counts are u128 and probabilities are fractions.

use std::collections::BTreeMap;
use std::ops::{Add, Mul};

/// A non-negative fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    numerator: u128,
    denominator: u128,
}

impl Ratio {
    pub(super) const ZERO: Self = Self::new(0, 1);
    pub(super) const ONE: Self = Self::new(1, 1);

    pub(super) const fn new(numerator: u128, denominator: u128) -> Self {
        let divisor = gcd(numerator, denominator);
        Self {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        }
    }

    fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

const fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Add for Ratio {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let divisor = gcd(self.denominator, other.denominator);
        Self::new(
            self.numerator * (other.denominator / divisor)
                + other.numerator * (self.denominator / divisor),
            self.denominator * (other.denominator / divisor),
        )
    }
}

impl Mul for Ratio {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let left = Self::new(self.numerator, other.denominator);
        let right = Self::new(other.numerator, self.denominator);
        Self {
            numerator: left.numerator * right.numerator,
            denominator: left.denominator * right.denominator,
        }
    }
}

/// The two tables of completion counts, indexed `[t][f]`.
pub(super) struct Tables {
    frames: usize,
    timesteps: usize,
    /// d_s: the ways to continue from frame f at timestep t to the last frame.
    suffixes: Vec<Vec<u128>>,
    /// d_e: the ways to arrive at frame f at timestep t from the first frame.
    prefixes: Vec<Vec<u128>>,
}

impl Tables {
    pub(super) fn new(frames: usize, timesteps: usize) -> Self {
        let mut suffixes = vec![vec![1; frames]; timesteps];
        for t in (0..timesteps - 1).rev() {
            for f in (0..frames - 1).rev() {
                suffixes[t][f] = suffixes[t + 1][f] + suffixes[t][f + 1];
            }
        }
        let mut prefixes = vec![vec![1; frames]; timesteps];
        for t in 1..timesteps {
            for f in 1..frames {
                prefixes[t][f] = prefixes[t - 1][f] + prefixes[t][f - 1];
            }
        }
        Self {
            frames,
            timesteps,
            suffixes,
            prefixes,
        }
    }

    /// P(frame f has timestep k), given that frame f - 1 has `earlier`: proportional to d_s[k, f]
    /// over k >= earlier.
    fn forwards(&self, f: usize, earlier: usize, k: usize) -> Ratio {
        if k < earlier {
            return Ratio::ZERO;
        }
        let total = (earlier..self.timesteps).map(|k| self.suffixes[k][f]).sum();
        Ratio::new(self.suffixes[k][f], total)
    }

    /// P(frame f has timestep k), given that frame f + 1 has `later`: proportional to d_e[k, f]
    /// over k <= later.
    fn backwards(&self, f: usize, later: usize, k: usize) -> Ratio {
        if k > later {
            return Ratio::ZERO;
        }
        let total = (0..=later).map(|k| self.prefixes[k][f]).sum();
        Ratio::new(self.prefixes[k][f], total)
    }

    /// The probability of a sequence, given that frame f was drawn with the timestep it has there.
    fn completion_probability(&self, sequence: &[usize], f: usize) -> Ratio {
        let later = (f + 1..self.frames).map(|i| self.forwards(i, sequence[i - 1], sequence[i]));
        let earlier = (0..f).map(|i| self.backwards(i, sequence[i + 1], sequence[i]));
        later.chain(earlier).fold(Ratio::ONE, Mul::mul)
    }

    /// Every non-decreasing sequence with its probability.
    pub(super) fn distribution(&self) -> BTreeMap<Vec<usize>, Ratio> {
        let given = Ratio::new(1, (self.frames * self.timesteps) as u128);
        non_decreasing(self.frames, self.timesteps)
            .into_iter()
            .map(|sequence| {
                let probability = (0..self.frames)
                    .map(|f| given * self.completion_probability(&sequence, f))
                    .fold(Ratio::ZERO, Add::add);
                (sequence, probability)
            })
            .collect()
    }

    /// P(frame i has timestep k), `[frames][timesteps]`, by walking the chain from every given (frame, timestep). In
    /// f64, since sums of so many fractions overflow u128; all terms are positive, so about fifteen digits are correct.
    pub(super) fn marginals(&self) -> Vec<Vec<f64>> {
        let given = vec![1.0 / (self.frames * self.timesteps) as f64; self.timesteps];
        let mut marginals = vec![vec![0.0; self.timesteps]; self.frames];
        let mut add = |frame: usize, part: &[f64]| {
            for (total, part) in marginals[frame].iter_mut().zip(part) {
                *total += part;
            }
        };
        for f in 0..self.frames {
            add(f, &given);
            let mut here = given.clone();
            for i in f + 1..self.frames {
                here = self.walk(&here, |from, k| self.forwards(i, from, k));
                add(i, &here);
            }
            here = given.clone();
            for i in (0..f).rev() {
                here = self.walk(&here, |from, k| self.backwards(i, from, k));
                add(i, &here);
            }
        }
        marginals
    }

    /// The next frame's distribution from this one's.
    fn walk(&self, here: &[f64], transition: impl Fn(usize, usize) -> Ratio) -> Vec<f64> {
        (0..self.timesteps)
            .map(|k| {
                let arrivals = here.iter().enumerate();
                arrivals
                    .map(|(from, p)| p * transition(from, k).to_f64())
                    .sum()
            })
            .collect()
    }
}

/// All non-decreasing sequences.
pub(super) fn non_decreasing(frames: usize, timesteps: usize) -> Vec<Vec<usize>> {
    let mut sequences = vec![Vec::new()];
    for _ in 0..frames {
        sequences = sequences
            .into_iter()
            .flat_map(|sequence: Vec<usize>| {
                let smallest = sequence.last().copied().unwrap_or(0);
                (smallest..timesteps).map(move |t| [&sequence[..], &[t]].concat())
            })
            .collect();
    }
    sequences
}
