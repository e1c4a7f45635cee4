//! Fine-tunes the transformer of a model on your own latents: tensors in, a model directory out.
//!
//! ```sh
//! cargo run --release -p ar-train --example fine_tune -- MODEL OUT
//! ```
#![allow(clippy::print_stdout, reason = "a program")]

use std::error::Error;

use ar_data::{BatchOptions, Batches, LatentDataset};
use ar_model::{Precision, VideoModel};
use ar_train::config::{DiffusionRun, OptimizerConfig};
use ar_train::{diffusion::Objective, trainer::Trainer};
use burn::tensor::{Device, Distribution, Tensor};
use burn_dataset::Dataset;

const STEPS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("MODEL and OUT are missing: model directories to read and to write".into());
    };
    let device = Device::default().autodiff();
    let mut model = VideoModel::load(from, &device)?;
    let config = DiffusionRun {
        diffusion: model.config().diffusion.clone(),
        conditioning: model.config().conditioning.clone(),
        transformer: model.transformer()?.dit().config().clone(),
        optimizer: OptimizerConfig {
            learning_rate: 1e-5,
            ..OptimizerConfig::default()
        },
        ..DiffusionRun::default()
    };

    // Your latents go here: `[clips, frames, tokens, channels]`.
    let dit = &config.transformer;
    let shape = [64, dit.num_frames, dit.tokens_per_frame, dit.in_channels];
    let latents = Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let latents = latents.into_data().iter::<f32>().collect();
    let data = LatentDataset::new(latents, shape, None)?;

    let objective = Objective::new(&config, model.config().latent_statistics.clone())?;
    let mut trainer = Trainer::new(model.transformer()?.clone(), &config.optimizer, STEPS);
    let options = BatchOptions::default();
    let mut batches = Batches::start(data.len(), move |item| data.get(item.index), options);
    while !trainer.is_done() {
        let items = batches.next_batch()?;
        let draws = objective.draws(trainer.step() as u64, [items.len(), dit.num_frames]);
        let loss = objective.accumulate(&mut trainer, &items, &draws)?;
        let report = trainer.update();
        println!("step {}: loss {loss:.4}", report.position.step);
    }
    model.set_transformer(trainer.ema);
    Ok(model.save(to, Precision::Full)?)
}
