//! Shared by the benches: the device, the small preset, inputs, and how long to measure.
//!
//! The small preset is read from `configs/shapes`; its sizes are not repeated anywhere. Throughput counts frames, or
//! clips in the `data` bench.
//!
//! `cargo xtask bench` runs the benches and prints their tables. The environment
//! variable `AR_DEVICE` names the device, as `ar-sample devices` lists it; without it, the preferred
//! device is used.
//!
//! Criterion measures short runs. `sampling`, `long_stream` and `training_cost`, which take seconds to minutes per run,
//! measure themselves and write `results.json` into a folder with their name. `sampling`, `tokenizer`, `transformer`
//! and `training` also write networks there, with inputs and outputs, and `benches/pytorch` checks that its results
//! agree.
#![warn(missing_docs)]

mod fopp_tables;
mod models;
mod results;

#[cfg(feature = "criterion")]
use std::time::Duration;

use ar_train::config::{DiffusionRun, VaeRun, read_config};
use burn::tensor::{Device, Distribution, Tensor};
#[cfg(feature = "criterion")]
use criterion::Criterion;
use mimalloc::MiMalloc;

pub use fopp_tables::FoppTables;
pub use models::{perturbed_model, perturbed_vae, small_model};
pub use results::{Results, seconds, write_tensors};

/// The allocator of the programs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The device to measure on.
///
/// # Panics
/// If `AR_DEVICE` does not name a device.
pub fn device() -> Device {
    let name = std::env::var("AR_DEVICE");
    let name = name.as_deref().unwrap_or("auto");
    let device = ar_device::open(name).unwrap_or_else(|error| panic!("AR_DEVICE: {error}"));
    device.seed(0);
    device
}

/// The transformer of the small preset, and how it is trained.
pub fn small_diffusion() -> DiffusionRun {
    read_config(
        include_str!("../../crates/ar-train/configs/shapes/diffusion.toml"),
        &[],
    )
    .expect("a configuration of the repository")
}

/// The VAE of the small preset, and how it is trained.
pub fn small_vae() -> VaeRun {
    read_config(
        include_str!("../../crates/ar-train/configs/shapes/vae.toml"),
        &[],
    )
    .expect("a configuration of the repository")
}

/// Gaussian noise.
pub fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Pictures of noise in `[0, 1]`.
///
/// # Shapes
/// - output: `[batch, frames, 3, size, size]`
pub fn pixels([batch, frames]: [usize; 2], size: usize, device: &Device) -> Tensor<5> {
    let shape = [batch, frames, 3, size, size];
    Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device)
}

/// Waits until the device has finished all work, because GPUs compute asynchronously.
///
/// # Panics
/// If the device has failed.
pub fn wait(device: &Device) {
    device.sync().expect("the device works");
}

#[cfg(feature = "criterion")]
/// Runs a group of criterion's benches in the way that the programs run their work, and ends its report.
pub fn run(benches: fn()) {
    ar_cli::run_program(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}

#[cfg(feature = "criterion")]
/// Few samples in a short time, since all benches together take minutes on two cores.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

/// Tests the examples of the repository's README. They are tested here, since the packages of the other crates do not
/// include the file.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
