//! The results of a part, one line of JSON each, so that nothing is lost if a later part fails.

use serde::{Deserialize, Serialize};

/// A result.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The device.
    Device {
        name: String,
        hardware: String,
        memory_bytes: Option<u64>,
        driver: Option<String>,
        /// Whether it supports bf16.
        bf16: bool,
    },
    /// How far two computations of the same values are apart, relative to their size.
    Check {
        device: String,
        what: String,
        difference: f64,
        tolerance: f64,
    },
    /// The time of some work.
    Time(Time),
    /// The memory of a long run.
    Growth {
        device: String,
        what: String,
        /// Steps done, and bytes of the device in use at that time.
        memory: Vec<(u64, u64)>,
        seconds: f64,
    },
    /// A failure, with its reason.
    Failure { part: String, reason: String },
}

/// A measured time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Time {
    /// `here: cuda`, `PyTorch eager` or `PyTorch compiled`.
    pub side: String,
    /// What was computed: `forward`, `training step`, `sampling, s = 5, active frames`.
    pub work: String,
    /// The size of the network.
    pub network: String,
    pub precision: String,
    /// The median of the runs.
    pub seconds: f64,
    /// The first run, including compiling and tuning of kernels.
    pub first_seconds: f64,
    /// The peak memory use of the device so far, minus the use at the start of the process.
    pub memory_bytes: Option<u64>,
}

impl Record {
    /// Whether something failed or differs.
    pub(crate) fn is_bad(&self) -> bool {
        match self {
            Self::Check {
                difference,
                tolerance,
                ..
            } => difference.is_nan() || difference > tolerance,
            Self::Failure { .. } => true,
            _ => false,
        }
    }

    /// The record as a line of text.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Device {
                name,
                hardware,
                memory_bytes,
                driver,
                bf16,
            } => {
                let memory = memory_bytes.map(|bytes| format!(", {}", mebibytes(bytes)));
                let driver = driver.as_ref().map(|driver| format!(", {driver}"));
                format!(
                    "{name}: {hardware}{}{}, bf16: {bf16}",
                    memory.unwrap_or_default(),
                    driver.unwrap_or_default()
                )
            }
            Self::Check {
                device,
                what,
                difference,
                tolerance,
            } => {
                let verdict = if self.is_bad() { "DIFFERS" } else { "equal" };
                format!("{device}: {what}: {verdict} ({difference:.1e} of {tolerance:.0e})")
            }
            Self::Time(time) => {
                let memory = time.memory_bytes.map(mebibytes).unwrap_or_default();
                format!(
                    "{}, {}, {}, {}: {:.4} s (first {:.2} s) {memory}",
                    time.side,
                    time.network,
                    time.precision,
                    time.work,
                    time.seconds,
                    time.first_seconds
                )
            }
            Self::Growth {
                device,
                what,
                memory,
                seconds,
            } => {
                let memory: Vec<String> = memory
                    .iter()
                    .map(|&(step, bytes)| format!("{step}: {}", mebibytes(bytes)))
                    .collect();
                format!("{device}, {what}: {seconds:.1} s; {}", memory.join(", "))
            }
            Self::Failure { part, reason } => format!("{part}: FAILED: {reason}"),
        }
    }
}

fn mebibytes(bytes: impl Into<u64>) -> String {
    format!("{} MiB", bytes.into() >> 20)
}
