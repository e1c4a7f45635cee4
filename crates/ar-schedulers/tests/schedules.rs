//! Compares noise and DDIM schedules with the tables of the reference implementation.

mod golden;

use ar_schedulers::{
    BetaSchedule, DdimSchedule, FrameState, NoiseSchedule, NoiseScheduleConfig, ScheduleError,
};
use safetensors::{Dtype, SafeTensors};

/// A table is a running product of a thousand factors, so the two roundings may drift apart by a
/// thousand times 1e-16.
const TABLE_TOLERANCE: f64 = 1e-12;

/// A golden tensor's eight-byte elements.
fn elements<const N: usize, T>(
    file: &SafeTensors,
    name: &str,
    dtype: Dtype,
    read: fn([u8; N]) -> T,
) -> Vec<T> {
    let tensor = file.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), dtype, "{name}");
    let (chunks, rest) = tensor.data().as_chunks::<N>();
    assert!(rest.is_empty(), "{name}");
    chunks.iter().map(|&bytes| read(bytes)).collect()
}

fn floats(file: &SafeTensors, name: &str) -> Vec<f64> {
    elements(file, name, Dtype::F64, f64::from_le_bytes)
}

fn integers(file: &SafeTensors, name: &str) -> Vec<i64> {
    elements(file, name, Dtype::I64, i64::from_le_bytes)
}

fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (a - e).abs() <= tolerance * e.abs(),
            "{what}[{i}]: {a}, expected {e}"
        );
    }
}

fn published() -> NoiseSchedule {
    NoiseScheduleConfig::default().init().unwrap()
}

#[test]
fn tables_match_the_reference() {
    let bytes = golden::read("schedules.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cases = [
        ("linear.0.0001.0.02", BetaSchedule::Linear, 1e-4, 2e-2),
        ("linear.0.00085.0.012", BetaSchedule::Linear, 8.5e-4, 1.2e-2),
        (
            "sqrt_linear.0.0001.0.02",
            BetaSchedule::SqrtLinear,
            1e-4,
            2e-2,
        ),
        ("cosine.0.0", BetaSchedule::Cosine, 0.0, 0.0),
    ];
    for (name, beta_schedule, linear_start, linear_end) in cases {
        let schedule = NoiseScheduleConfig {
            beta_schedule,
            timesteps: 1000,
            linear_start,
            linear_end,
        }
        .init()
        .unwrap();
        let expected = floats(&file, &format!("alphas_cumprod.{name}"));
        assert_close(schedule.alphas_cumprod(), &expected, TABLE_TOLERANCE, name);
        assert_eq!(schedule.timesteps(), 1000);
        assert_eq!(schedule.alpha_cumprod(999), schedule.alphas_cumprod()[999]);
    }
}

/// The goldens have no table for this schedule, whose betas are square roots of a line.
#[test]
fn sqrt_table_by_hand() {
    let schedule = NoiseScheduleConfig {
        beta_schedule: BetaSchedule::Sqrt,
        timesteps: 3,
        linear_start: 0.01,
        linear_end: 0.25,
    }
    .init()
    .unwrap();
    // Betas 0.1, sqrt(0.13), 0.5; three factors round to a few 1e-16.
    let middle = 0.9 * (1.0 - 0.13_f64.sqrt());
    assert_close(
        schedule.alphas_cumprod(),
        &[0.9, middle, middle * 0.5],
        1e-15,
        "sqrt",
    );
}

/// The reference's arrays are in ascending order of timestep, with one more entry than steps at the
/// end: the values for a waiting frame, alpha = alpha_prev = abar[T - 1] and sigma = 0.
#[test]
fn ddim_steps_match_the_reference() {
    let bytes = golden::read("schedules.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let noise = published();
    for steps in [5, 10, 50] {
        let timesteps = integers(&file, &format!("ddim.{steps}.timesteps"));
        let alphas = floats(&file, &format!("ddim.{steps}.alphas"));
        let alphas_prev = floats(&file, &format!("ddim.{steps}.alphas_prev"));
        for (name, eta) in [("eta0.0", 0.0), ("eta1.0", 1.0)] {
            let sigmas = floats(&file, &format!("ddim.{steps}.{name}.sigmas"));
            let schedule = DdimSchedule::new(&noise, steps, eta).unwrap();
            assert_eq!(schedule.len(), steps);

            let ascending: Vec<_> = schedule.steps().iter().rev().copied().collect();
            let fed: Vec<_> = ascending.iter().map(|step| step.timestep as i64).collect();
            assert_eq!(fed, timesteps);
            let waiting = noise.alpha_cumprod(schedule.waiting_timestep());
            let mut columns = [vec![], vec![], vec![]];
            for step in &ascending {
                columns[0].push(step.alpha);
                columns[1].push(step.alpha_prev);
                columns[2].push(step.sigma);
            }
            for (column, extra) in columns.iter_mut().zip([waiting, waiting, 0.0]) {
                column.push(extra);
            }
            assert_close(&columns[0], &alphas, TABLE_TOLERANCE, "alphas");
            assert_close(&columns[1], &alphas_prev, TABLE_TOLERANCE, "alphas_prev");
            // The last step's 1 - alpha / alpha_prev is 1e-4 with an error of a few 1e-16.
            assert_close(&columns[2], &sigmas, 1e-11, "sigmas");
        }
    }
}

#[test]
fn timesteps_that_frames_are_fed() {
    let schedule = DdimSchedule::new(&published(), 50, 0.0).unwrap();
    assert_eq!(schedule.fed_timestep(FrameState::Waiting), 999);
    assert_eq!(schedule.fed_timestep(FrameState::Active { step: 0 }), 981);
    assert_eq!(schedule.fed_timestep(FrameState::Active { step: 48 }), 21);
    assert_eq!(schedule.fed_timestep(FrameState::Active { step: 49 }), 1);
    assert_eq!(schedule.fed_timestep(FrameState::Finished), 1);
}

/// If the steps do not divide the timesteps, the reference leaves the table or adds steps.
#[test]
fn every_number_of_steps_stays_inside_the_table() {
    for timesteps in [2, 3, 10, 97] {
        let noise = NoiseScheduleConfig {
            timesteps,
            ..Default::default()
        }
        .init()
        .unwrap();
        for steps in 1..timesteps {
            let schedule = DdimSchedule::new(&noise, steps, 1.0).unwrap();
            assert_eq!(schedule.len(), steps);
            assert!(schedule.step(0).timestep < timesteps);
            assert_eq!(schedule.finished_timestep(), 1);
            for pair in schedule.steps().windows(2) {
                assert!(pair[0].timestep > pair[1].timestep);
                assert_eq!(pair[0].alpha_prev, pair[1].alpha);
            }
            assert_eq!(schedule.step(steps - 1).alpha_prev, noise.alpha_cumprod(0));
        }
    }
}

/// The variance of an updated frame is 1 - alpha_prev, however it is split between old and new
/// noise.
#[test]
fn noise_variance_is_kept() {
    for eta in [0.0, 0.3, 1.0] {
        let schedule = DdimSchedule::new(&published(), 20, eta).unwrap();
        for step in schedule.steps() {
            let variance = step.direction().powi(2) + step.sigma.powi(2);
            // A root and a square, on numbers below 1.
            assert!((variance - (1.0 - step.alpha_prev)).abs() < 1e-15);
        }
    }
}

#[test]
fn the_largest_eta_is_named_and_works() {
    let noise = published();
    let error = DdimSchedule::new(&noise, 10, 3.0).unwrap_err();
    let ScheduleError::Eta { eta, largest } = error else {
        panic!("{error}");
    };
    assert_eq!(eta, 3.0);
    let schedule = DdimSchedule::new(&noise, 10, largest).unwrap();
    // At the tightest step, nothing of the predicted noise is left. The root of the rounding error
    // in a difference of numbers below 1 is at most 1e-7.
    let tightest = schedule.steps().iter().map(|step| step.direction());
    assert!(tightest.fold(f64::INFINITY, f64::min) < 1e-7);
    for eta in [largest * 1.001, -0.1, f64::NAN, f64::INFINITY] {
        assert!(DdimSchedule::new(&noise, 10, eta).is_err(), "{eta}");
    }
}

#[test]
fn refused_schedules_say_what_would_work() {
    let noise = published();
    for steps in [0, 1000, usize::MAX] {
        assert_eq!(
            DdimSchedule::new(&noise, steps, 0.0)
                .unwrap_err()
                .to_string(),
            format!("{steps} sampling steps asked of 1000 timesteps, but steps must be in 1..=999")
        );
    }

    let refused = |config: NoiseScheduleConfig| config.init().unwrap_err().to_string();
    for timesteps in [0, 1, usize::MAX] {
        let config = NoiseScheduleConfig {
            timesteps,
            ..Default::default()
        };
        assert_eq!(
            refused(config),
            format!("timesteps is {timesteps}, but must be in 2..=1000000")
        );
    }
    for value in [0.0, 1.0, -1e-4, f64::NAN] {
        let start = NoiseScheduleConfig {
            linear_start: value,
            ..Default::default()
        };
        assert_eq!(
            refused(start),
            format!("linear_start is {value}, but must be greater than 0 and less than 1")
        );
        let end = NoiseScheduleConfig {
            linear_end: value,
            ..Default::default()
        };
        assert_eq!(
            refused(end),
            format!("linear_end is {value}, but must be greater than 0 and less than 1")
        );
    }
    // 0.5^1075 is below the smallest f64; 1 - 1e-20 is 1.
    for (beta, timestep) in [(0.5, 1074), (1e-20, 0)] {
        let config = NoiseScheduleConfig {
            beta_schedule: BetaSchedule::SqrtLinear,
            timesteps: 2000,
            linear_start: beta,
            linear_end: beta,
        };
        assert!(matches!(
            config.init().unwrap_err(),
            ScheduleError::Alpha { timestep: t, .. } if t == timestep
        ));
    }
}

#[test]
fn configurations_default_to_the_published_one() {
    let empty: NoiseScheduleConfig = serde_json::from_str("{}").unwrap();
    assert_eq!(empty, NoiseScheduleConfig::default());
    let json = r#"{"beta_schedule": "sqrt_linear", "linear_end": 0.012}"#;
    let config: NoiseScheduleConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.beta_schedule, BetaSchedule::SqrtLinear);
    assert_eq!(config.linear_end, 0.012);
    assert_eq!(config.timesteps, 1000);
    let mistyped = serde_json::from_str::<NoiseScheduleConfig>(r#"{"linear_stop": 0.012}"#);
    assert!(mistyped.unwrap_err().to_string().contains("linear_stop"));
}

#[test]
fn schedules_print_short() {
    let noise = published();
    let ddim = DdimSchedule::new(&noise, 50, 0.0).unwrap();
    for text in [format!("{noise:?}"), format!("{ddim:?}")] {
        assert!(text.len() < 150, "{text}");
    }
}
