//! Errors for a stage whose device fails.

use crate::checkpoint::Checkpoints;
use crate::config::{ComputePrecision, StageConfig};
use crate::error::{Error, Result};
use crate::workers::Workers;

/// Words in the messages of devices that run out of memory.
const NO_MEMORY: [&str; 5] = [
    "out of memory",
    "out of device memory",
    "out_of_memory",
    "can't allocate",
    "not enough memory",
];

/// Runs a stage. GPU backends panic when their device runs out of memory or is lost. This becomes an error that says
/// how to use less memory and where to continue from. Running out of main memory is left to the system.
///
/// # Errors
/// The errors of `stage`, [`Error::OutOfMemory`], and [`Error::Device`].
pub fn guarded<C: StageConfig, T>(
    config: &C,
    workers: &Workers,
    stage: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let mut devices = workers.devices.iter();
    if devices.all(|device| device.memory_pool_usage().is_none()) {
        return stage();
    }
    ar_device::caught(stage).unwrap_or_else(|message| Err(given_up(config, message)))
}

/// The error for the last message of a device.
fn given_up(config: &impl StageConfig, message: String) -> Error {
    let newest = Checkpoints::new(&config.run().out).newest();
    let go_on = match newest {
        Ok(Some(checkpoint)) => format!(
            "; the last checkpoint is {}, continue with --resume",
            checkpoint.display()
        ),
        _ => "; there is no checkpoint yet".to_owned(),
    };
    let lower = message.to_lowercase();
    if NO_MEMORY.iter().any(|words| lower.contains(words)) {
        Error::OutOfMemory {
            message,
            advice: less_memory(config) + &go_on,
        }
    } else {
        Error::Device(message + &go_on)
    }
}

/// How to use less memory than with `config`.
pub fn less_memory(config: &impl StageConfig) -> String {
    let mut advice = Vec::new();
    if config.activation_checkpointing() == Some(false) {
        advice.push("activation_checkpointing = true".to_owned());
    }
    let run = config.run();
    if run.batch_size > 1 {
        advice.push(format!(
            "run.batch_size = {} with run.accumulate = {}",
            run.batch_size / 2,
            2 * run.accumulate
        ));
    }
    if config.precision() == ComputePrecision::F32 {
        advice.push("precision = \"bf16\"".to_owned());
    }
    match &advice[..] {
        [] => "use a smaller network".to_owned(),
        advice => format!("set {}", advice.join(", or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    use crate::config::{DiffusionRun, RunConfig};

    fn config(out: &std::path::Path) -> DiffusionRun {
        DiffusionRun {
            run: RunConfig {
                out: out.to_owned(),
                batch_size: 8,
                accumulate: 2,
                ..RunConfig::default()
            },
            ..DiffusionRun::default()
        }
    }

    #[test]
    fn a_device_without_memory_left_ends_with_advice_and_the_last_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let message = "out of device memory allocating 17 bytes";
        let error = given_up(&config, message.into()).to_string();
        assert_eq!(
            error,
            "the device is out of memory (out of device memory allocating 17 bytes): set \
             activation_checkpointing = true, or run.batch_size = 4 with run.accumulate = 4, or \
             precision = \"bf16\"; there is no checkpoint yet"
        );
        let checkpoint = folder.path().join("checkpoints/step-00000500");
        std::fs::create_dir_all(&checkpoint).expect("a folder");
        let error = given_up(&config, message.into()).to_string();
        let end = format!(
            "; the last checkpoint is {}, continue with --resume",
            checkpoint.display()
        );
        assert!(error.ends_with(&end), "{error}");
        assert!(matches!(
            given_up(&config, "device lost".into()),
            Error::Device(message) if message.starts_with("device lost; the last checkpoint")
        ));
    }

    #[test]
    #[should_panic(expected = "a fault of ours")]
    fn panics_on_the_processor_stay_panics() {
        let workers = Workers::alone(Device::flex());
        let _ = guarded(&DiffusionRun::default(), &workers, || -> Result<()> {
            panic!("a fault of ours")
        });
    }
}
