//! Compares the AD plan with the reference's schedules, and checks its properties at any size.

mod golden;

use std::ops::Range;

use ar_schedulers::{AdConfig, AdPlan, DdimSchedule, FrameState, NoiseScheduleConfig, PlanError};
use proptest::prelude::*;
use serde::Deserialize;

/// A plan of the reference; the tables are `[iterations][frames]`.
#[derive(Deserialize)]
struct GoldenPlan {
    steps: usize,
    ar_step: usize,
    total_frames: usize,
    window: usize,
    iterations: usize,
    timesteps: Vec<Vec<usize>>,
    step_index: Vec<Vec<usize>>,
    updated: Vec<Vec<u8>>,
    window_range: Vec<[usize; 2]>,
}

fn table<T>(plan: &AdPlan, cell: impl Fn(usize, usize) -> T) -> Vec<Vec<T>> {
    (0..plan.iterations())
        .map(|j| (0..plan.config().frames).map(|i| cell(j, i)).collect())
        .collect()
}

#[test]
fn plans_match_the_reference() {
    let noise = NoiseScheduleConfig::default().init().unwrap();
    let goldens: Vec<GoldenPlan> =
        serde_json::from_slice(&golden::read("ad_schedules.json")).unwrap();
    assert!(!goldens.is_empty());
    for golden in goldens {
        let plan = AdPlan::new(AdConfig {
            steps: golden.steps,
            ar_step: golden.ar_step,
            frames: golden.total_frames,
            window: golden.window,
        })
        .unwrap();
        let ddim = DdimSchedule::new(&noise, golden.steps, 0.0).unwrap();
        assert_eq!(plan.iterations(), golden.iterations);
        assert_eq!(
            table(&plan, |j, i| ddim.fed_timestep(plan.state(j, i))),
            golden.timesteps
        );
        assert_eq!(
            table(&plan, |j, i| plan.step_index(j, i)),
            golden.step_index
        );
        assert_eq!(
            table(&plan, |j, i| plan.is_updated(j, i) as u8),
            golden.updated
        );
        let windows: Vec<_> = plan
            .iter()
            .map(|row| [row.window.start, row.window.end])
            .collect();
        assert_eq!(windows, golden.window_range);
    }
}

/// Configurations that are accepted, both shorter and longer than the window.
fn configs() -> impl Strategy<Value = AdConfig> {
    (1_usize..30, 1_usize..12, 1_usize..40)
        .prop_flat_map(|(steps, window, frames)| {
            let smallest = if frames > window {
                steps.div_ceil(window)
            } else {
                0
            };
            (Just((steps, window, frames)), smallest..=steps)
        })
        .prop_map(|((steps, window, frames), ar_step)| AdConfig {
            steps,
            ar_step,
            frames,
            window,
        })
}

fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

proptest! {
    /// The closed forms of a whole iteration agree with the state of each frame.
    #[test]
    fn ranges_agree_with_states(config in configs()) {
        let plan = AdPlan::new(config).unwrap();
        let mut evaluated = 0;
        let mut active = 0;
        prop_assert_eq!(plan.iter().len(), plan.iterations());
        for row in plan.iter() {
            let j = row.iteration;
            let updated: Vec<usize> =
                (0..config.frames).filter(|&i| plan.is_updated(j, i)).collect();
            prop_assert_eq!(row.active.clone().collect::<Vec<_>>(), updated);
            prop_assert!(!row.active.is_empty());
            prop_assert!(contains(&row.window, &row.active));
            prop_assert_eq!(row.window.len(), config.window.min(config.frames));
            prop_assert!(row.window.end <= config.frames);
            evaluated += row.window.len();
            active += row.active.len();
        }
        prop_assert_eq!(plan.frames_evaluated(), evaluated);
        prop_assert_eq!(plan.frames_active(), active);
    }

    /// A frame waits, takes steps 0 to S - 1 in as many iterations, and then stays finished.
    #[test]
    fn every_frame_takes_every_step_once(config in configs()) {
        let plan = AdPlan::new(config).unwrap();
        for i in 0..config.frames {
            let mut taken = 0;
            for j in 0..plan.iterations() {
                match plan.state(j, i) {
                    FrameState::Waiting => prop_assert_eq!(taken, 0),
                    FrameState::Active { step } => {
                        prop_assert_eq!(step, taken);
                        taken += 1;
                        prop_assert_eq!(plan.finish_iteration(i) == j, taken == config.steps);
                    }
                    FrameState::Finished => prop_assert_eq!(taken, config.steps),
                }
                prop_assert_eq!(plan.step_index(j, i), taken);
            }
            prop_assert_eq!(taken, config.steps);
        }
    }

    /// The window slides forwards one frame at a time, over finished frames only, and no frame
    /// outside of it is active.
    #[test]
    fn frames_are_finished_before_they_leave_the_window(config in configs()) {
        let plan = AdPlan::new(config).unwrap();
        let rows: Vec<_> = plan.iter().collect();
        for pair in rows.windows(2) {
            let (before, after) = (&pair[0].window, &pair[1].window);
            prop_assert!(after.start == before.start || after.start == before.start + 1);
            for frame in before.start..after.start {
                prop_assert_eq!(plan.step_index(pair[0].iteration, frame), config.steps);
            }
        }
        prop_assert_eq!(rows[0].window.start, 0);
        prop_assert_eq!(rows[rows.len() - 1].window.end, config.frames);
    }

    /// The bound is sharp: the named step difference works; with one less, the window slides past an unfinished frame.
    #[test]
    fn the_named_ar_step_is_the_smallest(
        steps in 1_usize..60,
        window in 1_usize..12,
        more in 1_usize..10,
    ) {
        let frames = window + more;
        let config = AdConfig { steps, ar_step: 0, frames, window };
        let Err(PlanError::Unfinished { smallest_ar_step, .. }) = AdPlan::new(config) else {
            panic!("accepted");
        };
        let with = |ar_step| AdPlan::new(AdConfig { ar_step, ..config });
        prop_assert!(with(smallest_ar_step).is_ok());
        prop_assert!(with(smallest_ar_step - 1).is_err());
        // Frame 0 leaves when frame W starts, and takes its last step at iteration S - 1.
        prop_assert!(smallest_ar_step * window >= steps);
        prop_assert!((smallest_ar_step - 1) * window < steps);
    }
}

/// The savings that the method promises: 2.5 times fewer at s = 5, 16 times at s = 50.
#[test]
fn published_frame_counts() {
    let counts = |ar_step| {
        let plan = AdPlan::new(AdConfig {
            steps: 50,
            ar_step,
            frames: 16,
            window: 16,
        })
        .unwrap();
        (plan.frames_evaluated(), plan.frames_active())
    };
    assert_eq!(counts(0), (16 * 50, 16 * 50));
    assert_eq!(counts(5), (16 * 125, 16 * 50));
    assert_eq!(counts(50), (16 * 800, 16 * 50));
}

#[test]
fn long_videos() {
    let config = AdConfig {
        steps: 50,
        ar_step: 5,
        frames: 10_000,
        window: 16,
    };
    let plan = AdPlan::new(config).unwrap();
    assert_eq!(plan.iterations(), 50_045);
    assert_eq!(plan.window(50_044), 9_984..10_000);
    assert_eq!(plan.active(50_044), 9_999..10_000);
    assert_eq!(plan.frames_evaluated(), 50_045 * 16);

    let frames = 1 << 50;
    let plan = AdPlan::new(AdConfig { frames, ..config }).unwrap();
    let last = plan.iterations() - 1;
    assert_eq!(last, 5 * (frames - 1) + 49);
    assert_eq!(plan.finish_iteration(frames - 1), last);
    assert_eq!(plan.window(last), frames - 16..frames);
    assert_eq!(plan.active(last), frames - 1..frames);
    assert_eq!(
        plan.state(last, frames - 1),
        FrameState::Active { step: 49 }
    );
    assert_eq!(plan.state(last, frames - 2), FrameState::Finished);

    // Ten frames start before the first of them is finished.
    let middle = 5 * (frames / 2);
    assert_eq!(plan.active(middle), frames / 2 - 9..frames / 2 + 1);
    assert_eq!(plan.window(middle), frames / 2 - 15..frames / 2 + 1);
}

#[test]
fn refused_plans_say_what_would_work() {
    let good = AdConfig {
        steps: 50,
        ar_step: 4,
        frames: 24,
        window: 16,
    };
    assert!(AdPlan::new(good).is_ok());
    let refused = |config| AdPlan::new(config).unwrap_err().to_string();

    assert_eq!(
        refused(AdConfig { steps: 0, ..good }),
        "steps is 0, but must be at least 1"
    );
    assert_eq!(
        refused(AdConfig { frames: 0, ..good }),
        "frames is 0, but must be at least 1"
    );
    assert_eq!(
        refused(AdConfig { window: 0, ..good }),
        "window is 0, but must be at least 1"
    );
    assert_eq!(
        refused(AdConfig {
            ar_step: 51,
            ..good
        }),
        "ar_step 51 is larger than the 50 sampling steps; it must be in 0..=50, where 50 denoises \
         one frame after another"
    );
    assert_eq!(
        refused(AdConfig { ar_step: 3, ..good }),
        "with ar_step 3 a window of 16 frames slides past frames that have not taken all 50 \
         steps, and the video has 24 frames: use ar_step >= 4, or a window of all 24 frames"
    );
    // Synchronous diffusion needs all frames in the window.
    assert!(AdPlan::new(AdConfig { ar_step: 0, ..good }).is_err());
    assert!(
        AdPlan::new(AdConfig {
            ar_step: 0,
            window: 24,
            ..good
        })
        .is_ok()
    );

    let frames = usize::MAX;
    assert_eq!(
        refused(AdConfig { frames, ..good }),
        format!(
            "{frames} frames at 50 steps and ar_step 4 are more iterations than this machine can \
             count: use fewer frames"
        )
    );
    // Few enough iterations, but too many frames in them to count.
    let synchronous = AdConfig {
        steps: 2,
        ar_step: 0,
        frames,
        window: frames,
    };
    assert!(matches!(
        AdPlan::new(synchronous),
        Err(PlanError::TooLong { .. })
    ));
}
