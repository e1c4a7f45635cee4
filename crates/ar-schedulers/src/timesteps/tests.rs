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

fn planned_of(ar_steps: &[usize], history_noise: usize) -> PlannedConfig {
    PlannedConfig {
        ar_steps: ar_steps.to_vec(),
        history_noise,
    }
}

/// In a plan of length L = S + s (F - 1), frame i waits for s i, takes steps for S, and is finished for the rest; an
/// active frame's timestep is uniform.
#[test]
fn planned_marginals_pass_a_chi_square_test() {
    const FRAMES: usize = 6;
    const STEPS: usize = 10;
    const TIMESTEPS: usize = 30;
    const STEPS_OF_TRAINING: usize = 20_000;
    // Quantiles of 1 - 1e-6 with 29 to 31 degrees of freedom are 81 to 84; the seed is fixed.
    const LIMIT: f64 = 84.0;
    // The bins of waiting and finished frames come after the timesteps.
    const WAITING: usize = TIMESTEPS;
    const FINISHED: usize = TIMESTEPS + 1;

    let ar_steps = [0, 1, 3, 10, 10];
    let mut expected = [[0.0; TIMESTEPS + 2]; FRAMES];
    for s in ar_steps.map(|s| s as f64) {
        let length = STEPS as f64 + s * (FRAMES - 1) as f64;
        let each = 1.0 / ar_steps.len() as f64 / length;
        for (frame, expected) in expected.iter_mut().enumerate() {
            expected[WAITING] += each * s * frame as f64;
            expected[FINISHED] += each * s * (FRAMES - 1 - frame) as f64;
            for p in &mut expected[..TIMESTEPS] {
                *p += each * STEPS as f64 / TIMESTEPS as f64;
            }
        }
    }

    let sampler = PlannedSampler::new(planned_of(&ar_steps, 7), STEPS, TIMESTEPS).unwrap();
    // Independent clips: several of a step share its step difference.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut counts = [[0_u32; TIMESTEPS + 2]; FRAMES];
    for _ in 0..STEPS_OF_TRAINING {
        let drawn = sampler.sample([1, FRAMES], &mut rng).swap_remove(0);
        for (frame, count) in counts.iter_mut().enumerate() {
            let t = drawn.timesteps[frame];
            let place = match frame {
                frame if frame < drawn.active.start => FINISHED,
                frame if frame < drawn.active.end => t,
                _ => WAITING,
            };
            count[place] += 1;
        }
    }
    for (frame, (counts, expected)) in counts.iter().zip(&expected).enumerate() {
        let statistic: f64 = counts
            .iter()
            .zip(expected)
            .map(|(&count, p)| {
                let expected = p * STEPS_OF_TRAINING as f64;
                // The first frame never waits and the last is never finished.
                assert!(
                    expected >= 5.0 || expected == 0.0 && count == 0,
                    "{expected}"
                );
                match expected {
                    0.0 => 0.0,
                    _ => (f64::from(count) - expected).powi(2) / expected,
                }
            })
            .sum();
        assert!(statistic < LIMIT, "frame {frame}: {statistic}");
    }
}

/// Training sees what sampling goes through: at a whole step k, the active frames of a plan are at the timesteps of
/// DDIM, or a fraction of a step above.
#[test]
fn planned_timesteps_are_the_plan_of_inference() {
    let noise = crate::NoiseScheduleConfig::default().init().unwrap();
    let ddim = crate::DdimSchedule::new(&noise, 50, 0.0).unwrap();
    let plan = crate::AdPlan::new(crate::AdConfig {
        steps: 50,
        ar_step: 5,
        frames: 16,
        window: 16,
    })
    .unwrap();
    let sampler = PlannedSampler::new(planned_of(&[5], 1), 50, 1000).unwrap();
    let iterations = plan.iterations();
    // One clip per iteration, each in the middle of its stretch.
    let mut rng = 0..;
    let drawn = sampler.sample_with([iterations, 16], |bound| match rng.next().unwrap() {
        0 => 0,
        _ if bound == 1 => 0,
        _ => bound / 2,
    });
    for (row, drawn) in plan.iter().zip(&drawn) {
        assert_eq!(row.active, drawn.active, "iteration {}", row.iteration);
        for frame in 0..16 {
            let fed = ddim.fed_timestep(plan.state(row.iteration, frame));
            let t = drawn.timesteps[frame];
            // 981 to 1000 for the first step, whose timestep is 981.
            let within = if row.active.contains(&frame) { 9 } else { 0 };
            let expected = fed + within;
            assert_eq!(t, expected, "iteration {}, frame {frame}", row.iteration);
        }
    }
}

#[test]
fn impossible_planned_samplers_say_why() {
    let error = |ar_steps: &[usize], history_noise| {
        let config = planned_of(ar_steps, history_noise);
        let error = PlannedSampler::new(config, 50, 1000).expect_err("no sampler");
        error.to_string()
    };
    assert!(error(&[], 1).contains("at least one"));
    assert!(error(&[0, 51], 1).contains("ar_steps has 51") && error(&[51], 1).contains("0..=50"));
    assert!(error(&[0], 1000).contains("1..=999") && error(&[0], 0).contains("is 0"));
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
    let names = [
        "full_sequence",
        "diffusion_forcing",
        "forward_only",
        "fopp",
        "planned",
    ];
    let samplers = [
        TimestepSampler::FullSequence,
        TimestepSampler::DiffusionForcing,
        TimestepSampler::ForwardOnly,
        TimestepSampler::Fopp,
        TimestepSampler::Planned,
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
            TimestepSampler::Planned,
        ] {
            let sequence = sampler.sample(frames, timesteps, &mut rng);
            prop_assert_eq!(sequence.len(), frames);
            prop_assert!(sequence.iter().all(|&t| t < timesteps));
            prop_assert!(sampler == TimestepSampler::DiffusionForcing || sequence.is_sorted());
        }
    }

    /// Frames are history, active and waiting in this order, and every position of the plan has
    /// something to learn.
    #[test]
    fn planned_clips_are_ordered(
        clips in 1_usize..9,
        frames in 1_usize..40,
        steps in 1_usize..100,
        ar_step in 0_usize..100,
        (timesteps, history_noise) in (2_usize..1500).prop_flat_map(|n| (Just(n), 1..n)),
        seed: u64,
    ) {
        let config = planned_of(&[ar_step.min(steps)], history_noise);
        let sampler = PlannedSampler::new(config, steps, timesteps).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let drawn = sampler.sample([clips, frames], &mut rng);
        prop_assert_eq!(drawn.len(), clips);
        for PlannedTimesteps { timesteps: t, active } in drawn {
            prop_assert_eq!(t.len(), frames);
            prop_assert!(t.is_sorted());
            prop_assert!(t[frames - 1] < timesteps);
            prop_assert!(active.start < active.end && active.end <= frames);
            prop_assert!(t[..active.start].iter().all(|&t| t <= history_noise));
            prop_assert!(t[active.end..].iter().all(|&t| t == timesteps - 1));
        }
    }

    /// The first two draws are the given frame, uniform over the frames, and its timestep, uniform over all timesteps.
    /// The sequence goes through that point.
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
