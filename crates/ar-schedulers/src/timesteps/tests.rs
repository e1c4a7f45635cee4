use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::oracle::{Ratio, Tables, non_decreasing};
use super::*;

/// The exact distribution of what `sample_with` returns: walks every sequence of draws that it
/// can make, and adds up their probabilities.
fn exact_distribution(
    sampler: TimestepSampler,
    frames: usize,
    timesteps: usize,
) -> BTreeMap<Vec<usize>, Ratio> {
    let mut distribution = BTreeMap::new();
    // The draws of the path, each with the number of its alternatives.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        let mut depth = 0;
        let sequence = sampler.sample_with(frames, timesteps, |bound| {
            if depth == path.len() {
                path.push((0, bound));
            }
            depth += 1;
            path[depth - 1].0
        });
        let outcomes = path.iter().map(|&(_, bound)| bound as u128).product();
        let probability = distribution.entry(sequence).or_insert(Ratio::ZERO);
        *probability = *probability + Ratio::new(1, outcomes);

        while let Some((value, bound)) = path.pop() {
            if value + 1 < bound {
                path.push((value + 1, bound));
                break;
            }
        }
        if path.is_empty() {
            return distribution;
        }
    }
}

#[test]
fn fopp_is_the_dynamic_programme_exactly() {
    let mut small = vec![(1, 1), (1, 6), (6, 1)];
    small.extend((2..=4).flat_map(|frames| (2..=5).map(move |timesteps| (frames, timesteps))));
    small.extend([(2, 12), (5, 3), (6, 2)]);
    for (frames, timesteps) in small {
        assert_eq!(
            exact_distribution(TimestepSampler::Fopp, frames, timesteps),
            Tables::new(frames, timesteps).distribution(),
            "{frames} frames, {timesteps} timesteps"
        );
    }
}

#[test]
fn the_oracle_is_a_distribution() {
    let distribution = Tables::new(4, 5).distribution();
    // 8 choose 4 multisets of 4 out of 5 values.
    assert_eq!(distribution.len(), 70);
    let total = distribution
        .into_values()
        .fold(Ratio::ZERO, |sum, p| sum + p);
    assert_eq!(total, Ratio::ONE);
}

#[test]
fn forward_only_is_uniform_over_non_decreasing_sequences_exactly() {
    for (frames, timesteps) in [(1, 7), (2, 5), (3, 4), (4, 4), (5, 2), (3, 1)] {
        let sequences = non_decreasing(frames, timesteps);
        let each = Ratio::new(1, sequences.len() as u128);
        assert_eq!(
            exact_distribution(TimestepSampler::ForwardOnly, frames, timesteps),
            sequences.into_iter().map(|s| (s, each)).collect(),
            "{frames} frames, {timesteps} timesteps"
        );
    }
}

#[test]
fn diffusion_forcing_and_full_sequence_are_uniform_exactly() {
    let independent = exact_distribution(TimestepSampler::DiffusionForcing, 3, 4);
    assert_eq!(independent.len(), 4 * 4 * 4);
    assert!(independent.values().all(|&p| p == Ratio::new(1, 64)));

    let shared = exact_distribution(TimestepSampler::FullSequence, 3, 4);
    let expected = (0..4).map(|t| (vec![t; 3], Ratio::new(1, 4))).collect();
    assert_eq!(shared, expected);
}

/// Every frame's timesteps at sizes beyond enumeration, through the random generator.
#[test]
fn fopp_marginals_pass_a_chi_square_test() {
    const FRAMES: usize = 12;
    const TIMESTEPS: usize = 30;
    const CLIPS: usize = 20_000;
    // The 1 - 1e-6 quantile of chi-square with 29 degrees of freedom, by Wilson and Hilferty's
    // approximation. The seed is fixed, so a pass stays a pass.
    const LIMIT: f64 = 81.0;

    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut counts = vec![vec![0_u32; TIMESTEPS]; FRAMES];
    for _ in 0..CLIPS {
        let sequence = TimestepSampler::Fopp.sample(FRAMES, TIMESTEPS, &mut rng);
        for (count, t) in counts.iter_mut().zip(sequence) {
            count[t] += 1;
        }
    }
    let marginals = Tables::new(FRAMES, TIMESTEPS).marginals();
    for (frame, (count, marginal)) in counts.iter().zip(&marginals).enumerate() {
        let statistic: f64 = count
            .iter()
            .zip(marginal)
            .map(|(&count, p)| {
                let expected = p * CLIPS as f64;
                // Below five the statistic is not chi-square distributed.
                assert!(expected >= 5.0, "frame {frame} expects {expected}");
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        assert!(statistic < LIMIT, "frame {frame}: {statistic}");
    }
}

#[test]
fn many_frames_and_timesteps_need_no_table() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (frames, timesteps) in [(4096, 100_000), (4096, 3), (100_000, 1000), (16, 1 << 31)] {
        for sampler in [TimestepSampler::Fopp, TimestepSampler::ForwardOnly] {
            let sequence = sampler.sample(frames, timesteps, &mut rng);
            assert_eq!(sequence.len(), frames);
            assert!(sequence.is_sorted());
            assert!(sequence[frames - 1] < timesteps);
        }
    }
}

#[test]
fn names_in_configurations() {
    let names = ["full_sequence", "diffusion_forcing", "forward_only", "fopp"];
    let samplers = [
        TimestepSampler::FullSequence,
        TimestepSampler::DiffusionForcing,
        TimestepSampler::ForwardOnly,
        TimestepSampler::Fopp,
    ];
    for (name, sampler) in names.into_iter().zip(samplers) {
        let json = serde_json::to_string(&sampler).unwrap();
        assert_eq!(json, format!("{name:?}"));
        let read: TimestepSampler = serde_json::from_str(&json).unwrap();
        assert_eq!(read, sampler);
    }
}

#[test]
fn no_frames_need_no_timesteps() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert!(TimestepSampler::Fopp.sample(0, 0, &mut rng).is_empty());
}

proptest! {
    #[test]
    fn sequences_are_in_range_and_ordered(
        frames in 1_usize..60,
        timesteps in 1_usize..2000,
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for sampler in [
            TimestepSampler::FullSequence,
            TimestepSampler::DiffusionForcing,
            TimestepSampler::ForwardOnly,
            TimestepSampler::Fopp,
        ] {
            let sequence = sampler.sample(frames, timesteps, &mut rng);
            prop_assert_eq!(sequence.len(), frames);
            prop_assert!(sequence.iter().all(|&t| t < timesteps));
            prop_assert!(sampler == TimestepSampler::DiffusionForcing || sequence.is_sorted());
        }
    }

    /// The first two draws are the given frame, uniform over the frames, and its timestep,
    /// uniform over all timesteps: the sequence goes through that point.
    #[test]
    fn fopp_goes_through_the_given_frame(
        (frames, frame) in (1_usize..60).prop_flat_map(|n| (Just(n), 0..n)),
        (timesteps, t) in (1_usize..2000).prop_flat_map(|n| (Just(n), 0..n)),
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut given = [(frames, frame), (timesteps, t)].into_iter();
        let mut bounds_agree = true;
        let sequence = TimestepSampler::Fopp.sample_with(frames, timesteps, |bound| {
            match given.next() {
                Some((expected, value)) => {
                    bounds_agree &= bound == expected;
                    value
                }
                None => rng.random_range(0..bound),
            }
        });
        prop_assert!(bounds_agree);
        prop_assert_eq!(sequence[frame], t);
    }
}
