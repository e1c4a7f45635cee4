//! What a part finds out, one line of JSON each, so that nothing is lost where a later one fails.

use serde::{Deserialize, Serialize};

/// Something that was found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    /// What was computed on.
    Device {
        name: String,
        hardware: String,
        memory_bytes: Option<u64>,
        driver: Option<String>,
        /// 16-bit floats that it computes in.
        bf16: bool,
    },
    /// How far two computations of the same are apart, in relation to the size of the values.
    Check {
        device: String,
        what: String,
        difference: f64,
        tolerance: f64,
    },
    /// How long some work took.
    Time(Time),
    /// The memory that a long run had.
    Growth {
        device: String,
        what: String,
        /// Steps done and bytes of the device in use then.
        memory: Vec<(u64, u64)>,
        seconds: f64,
    },
    /// What did not work, and why.
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
    /// The first run: with compiling kernels and choosing among them.
    pub first_seconds: f64,
    /// The most memory of the device that was in use by then, over what was in use at the start of
    /// the process.
    pub memory_bytes: Option<u64>,
}

impl Record {
    /// Whether something was not as it should be.
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

    /// A line for people.
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
