//! How much time and memory a run will take, before it starts.

use std::time::Instant;

use ar_cli::memory;
use ar_device::Details;
use burn::tensor::Device;

use crate::config::{ComputePrecision, StageConfig};
use crate::error::{Error, Result};

/// Steps that are taken. The second one holds the optimizer's moments from its start.
const STEPS: u64 = 3;

/// How much time and memory a run of a stage will take:
/// [`diffusion::forecast`](crate::diffusion::forecast), [`vae::forecast`](crate::vae::forecast).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Parameters of the network.
    pub parameters: usize,
    /// Memory of the weights, their gradients, the optimizer's moments and the average, in bytes.
    pub state_bytes: u64,
    /// Steps of the run.
    pub steps: usize,
    /// Keeping all activations for the backward pass.
    pub keeping: Measured,
    /// Recomputing blocks (`activation_checkpointing`), if the network can.
    pub recomputing: Option<Measured>,
    /// Available memory in bytes, if the system or the device tells.
    pub available_bytes: Option<u64>,
}

/// What steps of a run took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The fastest one after the first.
    pub step_seconds: f64,
    /// The most memory in bytes, if the system or the device tells.
    pub peak_bytes: Option<u64>,
}

/// A run of which a few steps are measured.
pub(crate) struct Begun<S> {
    /// Parameters of the network.
    pub parameters: usize,
    /// Takes the step of this number.
    pub step: S,
}

impl Forecast {
    /// Takes a few steps of runs that `begin` starts, with activation checkpointing and without.
    ///
    /// # Errors
    /// The errors of the runs; if the device does not work.
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
                // From the second step on: what was read before the first one is gone by then.
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
        // What keeps less comes first: devices hold on to memory.
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

/// Weights, gradients, two moments and the average in 32-bit floats; weights and gradients once more
/// in the 16-bit floats that are computed in.
fn state_bytes(parameters: usize, precision: ComputePrecision) -> u64 {
    let bytes = match precision {
        ComputePrecision::F32 => 5 * 4,
        ComputePrecision::Bf16 => 5 * 4 + 2 * 2,
    };
    parameters as u64 * bytes
}

fn wait(device: &Device) -> Result<()> {
    device
        .sync()
        .map_err(|error| Error::Device(error.to_string()))
}

/// The memory that a device's allocator holds, or else the most that this process had, on Linux.
fn peak_memory(device: &Device) -> Option<u64> {
    match device.memory_pool_usage() {
        Some(usage) => Some(usage.bytes_reserved),
        None => memory::peak(),
    }
}

/// The memory of the device, or else the memory of the machine that is free, on Linux.
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
