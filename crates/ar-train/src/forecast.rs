//! Predicts how much time and memory a run will need.

use std::time::Instant;

use ar_cli::memory;
use ar_device::Details;
use burn::tensor::Device;

use crate::config::{ComputePrecision, StageConfig};
use crate::error::{Error, Result};

/// Number of steps that are taken. From the second one on, the optimizer's moments exist.
const STEPS: u64 = 3;

/// How much time and memory a run of a stage will need: [`diffusion::forecast`](crate::diffusion::forecast),
/// [`vae::forecast`](crate::vae::forecast).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Parameters of the network.
    pub parameters: usize,
    /// Memory of the weights, their gradients, the optimizer's moments and the average, in bytes.
    pub state_bytes: u64,
    /// Steps of the run.
    pub steps: usize,
    /// Measured while keeping all activations for the backward pass.
    pub keeping: Measured,
    /// Measured while recomputing blocks (`activation_checkpointing`), if the network supports it.
    pub recomputing: Option<Measured>,
    /// Available memory in bytes, if known.
    pub available_bytes: Option<u64>,
}

/// Time and memory of a run's steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Time of the fastest step after the first.
    pub step_seconds: f64,
    /// Peak memory in bytes, if known.
    pub peak_bytes: Option<u64>,
}

/// A run of which a few steps are measured.
pub(crate) struct Begun<S> {
    /// Parameters of the network.
    pub parameters: usize,
    /// Takes the step with this number.
    pub step: S,
}

impl Forecast {
    /// Takes a few steps of runs that `begin` starts, with and without activation checkpointing.
    ///
    /// # Errors
    /// The errors of the runs, or if the device does not work.
    pub(crate) fn measure<S: FnMut(u64) -> Result<()>>(
        config: &impl StageConfig,
        device: &Device,
        mut begin: impl FnMut(bool) -> Result<Begun<S>>,
    ) -> Result<Self> {
        let available_bytes = available_memory(device);
        let mut measure = |activation_checkpointing: bool| -> Result<(usize, Measured)> {
            device.memory_cleanup();
            let Begun {
                parameters,
                mut step,
            } = begin(activation_checkpointing)?;
            let mut step_seconds = f64::INFINITY;
            for number in 0..STEPS {
                // From the second step on, when everything that was read before the first one has been freed.
                if number == 1 {
                    memory::reset_peak();
                }
                let start = Instant::now();
                step(number)?;
                wait(device)?;
                if number > 0 {
                    step_seconds = step_seconds.min(start.elapsed().as_secs_f64());
                }
            }
            let measured = Measured {
                step_seconds,
                peak_bytes: peak_memory(device),
            };
            Ok((parameters, measured))
        };
        // The run that needs less memory comes first, because devices do not return memory.
        let recomputing = config.activation_checkpointing().map(|_| measure(true));
        let recomputing = recomputing.transpose()?;
        let (parameters, keeping) = measure(false)?;
        Ok(Self {
            parameters,
            state_bytes: state_bytes(parameters, config.precision()),
            steps: config.run().steps,
            keeping,
            recomputing: recomputing.map(|(_, measured)| measured),
            available_bytes,
        })
    }
}

/// Weights, gradients, two moments and the average in f32; when computing in bf16, also weights (and gradients) in bf16.
fn state_bytes(parameters: usize, precision: ComputePrecision) -> u64 {
    let bytes = match precision {
        ComputePrecision::F32 => 5 * 4,
        ComputePrecision::Bf16Products => 5 * 4 + 2,
        ComputePrecision::Bf16 => 5 * 4 + 2 * 2,
    };
    parameters as u64 * bytes
}

fn wait(device: &Device) -> Result<()> {
    device
        .sync()
        .map_err(|error| Error::Device(error.to_string()))
}

/// The memory that a device's allocator has reserved, or else the peak memory of this process, on Linux.
fn peak_memory(device: &Device) -> Option<u64> {
    match device.memory_pool_usage() {
        Some(usage) => Some(usage.bytes_reserved),
        None => memory::peak(),
    }
}

/// The memory of the device, or else the free memory of the machine, on Linux.
fn available_memory(device: &Device) -> Option<u64> {
    match device.memory_pool_usage() {
        Some(_) => Details::of(device).memory_bytes,
        None => memory::available(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_training_is_counted_by_hand() {
        assert_eq!(state_bytes(1_000_000, ComputePrecision::F32), 20_000_000);
        assert_eq!(state_bytes(1_000_000, ComputePrecision::Bf16), 24_000_000);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn on_the_cpu_the_memory_is_the_machines() {
        let available = available_memory(&Device::flex()).expect("a figure");
        assert!(available > 1 << 20, "{available}");
    }
}
