//! What a run will take of a machine, before it starts.

use std::time::Instant;

use ar_cli::memory;
use ar_device::Details;
use ar_model::Transformer;
use burn::module::Module;
use burn::tensor::Device;
use burn_dataset::Dataset;

use super::{Objective, check_latents, statistics, validate};
use crate::config::{CheckSizes, ComputePrecision, DiffusionRun};
use crate::error::{ConfigError, Error, Result};
use crate::trainer::Trainer;
use crate::workers::Workers;

/// Steps that are taken. The second one holds the optimizer's moments from its start.
const STEPS: u64 = 3;

/// What a run of the diffusion stage will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Parameters of the transformer.
    pub parameters: usize,
    /// Memory of the weights, their gradients, the optimizer's moments and the average, in bytes.
    pub state_bytes: u64,
    /// Steps of the run.
    pub steps: usize,
    /// Keeping what blocks have computed for the backward pass.
    pub keeping: Measured,
    /// Computing blocks again (`activation_checkpointing`).
    pub recomputing: Measured,
    /// Memory that is there, in bytes, where the system or the device tells.
    pub available_bytes: Option<u64>,
}

/// What steps of a run took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The fastest one after the first.
    pub step_seconds: f64,
    /// The most memory, in bytes, where the system or the device tells.
    pub peak_bytes: Option<u64>,
}

impl Forecast {
    /// Takes a few steps of the run, twice, and writes nothing.
    ///
    /// # Errors
    /// If the configuration is impossible or the latents cannot be read.
    pub fn new(config: &DiffusionRun, workers: &Workers) -> Result<Self> {
        config.check_sizes()?;
        validate(config)?;
        workers.check(config.precision)?;
        let available_bytes = available_memory(workers.main_device());
        let latents = config.data.open_latents()?;
        check_latents(&latents, config)?;
        let statistics = statistics(&latents, config.latent_scale)?;
        let clips = config.run.clips_per_step();
        let items: Vec<_> = (0..clips)
            .map(|clip| latents.get(clip % latents.len()))
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Data(error.into()))?;
        let workers = workers.autodiff();
        let device = workers.main_device();
        let mut parameters = 0;
        let mut measure = |activation_checkpointing: bool| -> Result<Measured> {
            let config = DiffusionRun {
                activation_checkpointing,
                ..config.clone()
            };
            device.memory_cleanup();
            memory::reset_peak();
            let transformer = Transformer::new(&config.transformer, &config.conditioning, device)
                .map_err(ConfigError::from)?;
            parameters = transformer.num_params();
            let mut trainer = Trainer::new(transformer, &config.optimizer, config.run.steps)
                .with_precision(config.precision)
                .with_workers(&workers);
            let objective = Objective::new(&config, statistics.clone())?;
            let mut step_seconds = f64::INFINITY;
            for step in 0..STEPS {
                let start = Instant::now();
                let draws = objective.draws(step, [clips, items[0].shape[0]]);
                objective.accumulate(&mut trainer, &items, &draws)?;
                trainer.update();
                wait(device)?;
                if step > 0 {
                    step_seconds = step_seconds.min(start.elapsed().as_secs_f64());
                }
            }
            Ok(Measured {
                step_seconds,
                peak_bytes: peak_memory(device),
            })
        };
        // What keeps less comes first: devices hold on to memory.
        let recomputing = measure(true)?;
        let keeping = measure(false)?;
        Ok(Self {
            parameters,
            state_bytes: state_bytes(parameters, config.precision),
            steps: config.run.steps,
            keeping,
            recomputing,
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
