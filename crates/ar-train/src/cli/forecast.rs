//! The output of `--dry-run`.

use std::time::Duration;

use ar_train::config::StageConfig;
use ar_train::forecast::{Forecast, Measured};
use ar_train::guard::less_memory;
use indicatif::{HumanBytes, HumanDuration};

/// A forecast in words, with what to change if the run does not fit.
pub(crate) fn describe(forecast: &Forecast, config: &impl StageConfig) -> String {
    let mut lines = vec![
        format!("{:.2} M parameters", forecast.parameters as f64 / 1e6),
        format!(
            "weights, gradients, moments and average: {}",
            HumanBytes(forecast.state_bytes)
        ),
    ];
    let mut ways = vec![(false, forecast.keeping)];
    ways.extend(forecast.recomputing.map(|measured| (true, measured)));
    for (activation_checkpointing, measured) in &ways {
        let of_steps = of_steps(*measured, forecast.steps);
        lines.push(match ways.len() {
            1 => of_steps,
            _ => format!("activation_checkpointing = {activation_checkpointing}: {of_steps}"),
        });
    }
    let chosen = match (config.activation_checkpointing(), forecast.recomputing) {
        (Some(true), Some(recomputing)) => recomputing,
        _ => forecast.keeping,
    };
    if let (Some(peak), Some(available)) = (chosen.peak_bytes, forecast.available_bytes)
        && peak > available
    {
        lines.push(format!(
            "that is more than the {} that are free: {}",
            HumanBytes(available),
            less_memory(config)
        ));
    }
    lines.join("\n")
}

fn of_steps(measured: Measured, steps: usize) -> String {
    let all = Duration::from_secs_f64(measured.step_seconds * steps as f64);
    let memory = measured.peak_bytes.map(|bytes| {
        let bytes = HumanBytes(bytes);
        format!("; {bytes} of memory at most")
    });
    format!(
        "{:.3} s a step, {} for {steps} steps{}",
        measured.step_seconds,
        HumanDuration(all),
        memory.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ar_train::config::DiffusionRun;

    #[test]
    fn what_does_not_fit_comes_with_advice() {
        let measured = |peak| Measured {
            step_seconds: 0.5,
            peak_bytes: Some(peak),
        };
        let forecast = Forecast {
            parameters: 2_000_000,
            state_bytes: 40_000_000,
            steps: 14_400,
            keeping: measured(3 << 30),
            recomputing: Some(measured(1 << 30)),
            available_bytes: Some(2 << 30),
        };
        let mut config = DiffusionRun::default();
        config.run.batch_size = 8;
        let text = describe(&forecast, &config);
        assert!(
            text.contains("0.500 s a step, 2 hours for 14400 steps"),
            "{text}"
        );
        assert!(
            text.contains("more than the 2.00 GiB that are free"),
            "{text}"
        );
        assert!(
            text.contains("run.batch_size = 4 with run.accumulate = 2"),
            "{text}"
        );
        config.activation_checkpointing = true;
        let text = describe(&forecast, &config);
        assert!(!text.contains("that are free"), "{text}");
        let only = Forecast {
            recomputing: None,
            ..forecast
        };
        let text = describe(&only, &config);
        assert!(!text.contains("activation_checkpointing ="), "{text}");
    }
}
