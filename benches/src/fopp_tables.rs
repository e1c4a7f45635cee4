use rand::{Rng, RngExt};

/// FoPP as in the paper (section 3.3): frame by frame, with two tables that count non-decreasing
/// completions. [`TimestepSampler::Fopp`] draws from the same distribution without tables.
///
/// The counts are f64, as in other implementations; they overflow near 300 frames.
///
/// [`TimestepSampler::Fopp`]: ar_schedulers::TimestepSampler::Fopp
pub struct FoppTables {
    /// Ways from frame f at timestep t to the last frame, `[frames][timesteps]`.
    suffixes: Vec<Vec<f64>>,
    /// Ways from the first frame to frame f at timestep t, `[frames][timesteps]`.
    prefixes: Vec<Vec<f64>>,
}

impl FoppTables {
    /// The tables for clips of `frames` frames; neither number is 0.
    pub fn new(frames: usize, timesteps: usize) -> Self {
        let mut suffixes = vec![vec![1.0; timesteps]; frames];
        for f in (0..frames - 1).rev() {
            for t in (0..timesteps - 1).rev() {
                suffixes[f][t] = suffixes[f][t + 1] + suffixes[f + 1][t];
            }
        }
        let mut prefixes = vec![vec![1.0; timesteps]; frames];
        for f in 1..frames {
            for t in 1..timesteps {
                prefixes[f][t] = prefixes[f][t - 1] + prefixes[f - 1][t];
            }
        }
        Self { suffixes, prefixes }
    }

    /// The timesteps of one clip, `[frames]`.
    pub fn sample(&self, rng: &mut impl Rng) -> Vec<usize> {
        let (frames, timesteps) = (self.suffixes.len(), self.suffixes[0].len());
        let frame = rng.random_range(0..frames);
        let mut sequence = vec![rng.random_range(0..timesteps); frames];
        for f in (0..frame).rev() {
            sequence[f] = choose(&self.prefixes[f][..=sequence[f + 1]], rng);
        }
        for f in frame + 1..frames {
            let least = sequence[f - 1];
            sequence[f] = least + choose(&self.suffixes[f][least..], rng);
        }
        sequence
    }
}

/// An index, with a probability proportional to its weight.
fn choose(weights: &[f64], rng: &mut impl Rng) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    let choice = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    // Rounding may leave a small rest of the sum.
    choice.unwrap_or(weights.len() - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn clips_come_as_often_as_the_definition_says() {
        const TIMESTEPS: usize = 4;
        const CLIPS: usize = 100_000;
        let tables = FoppTables::new(3, TIMESTEPS);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut counts = BTreeMap::new();
        for _ in 0..CLIPS {
            *counts.entry(tables.sample(&mut rng)).or_insert(0_usize) += 1;
        }
        // 6 choose 3 multisets of 3 out of 4 values.
        assert_eq!(counts.len(), 20);
        // Completions of one frame out of n values, and of two.
        let one = |n: usize| n as f64;
        let two = |n: usize| (n * (n + 1) / 2) as f64;
        for (clip, count) in counts {
            let &[a, b, c] = &clip[..] else {
                panic!("{clip:?}")
            };
            assert!(a <= b && b <= c, "{clip:?}");
            let given_each_frame = 1.0 / two(TIMESTEPS - a)
                + 1.0 / (one(b + 1) * one(TIMESTEPS - b))
                + 1.0 / two(c + 1);
            let p = given_each_frame / (3 * TIMESTEPS) as f64;
            let deviation = (p * (1.0 - p) / CLIPS as f64).sqrt();
            let frequency = count as f64 / CLIPS as f64;
            assert!(
                (frequency - p).abs() < 5.0 * deviation,
                "{clip:?}: {frequency}, {p}"
            );
        }
    }
}
