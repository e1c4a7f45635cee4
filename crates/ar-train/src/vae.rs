//! The VAE stage: frames in, frames out.

use anyhow::{Result, ensure};
use ar_data::{VideoBatch, VideoItem};
use ar_model::{ModelConfig, Precision, SamplingConfig, VideoModel};
use ar_ops::noise::{FrameNoise, NoiseStream};
use ar_vae::{Posterior, Vae};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn_train::Interrupter;

use crate::config::{VaeLossConfig, VaeRun};
use crate::data::open_clips;
use crate::run::{Ending, Run};
use crate::trainer::Trainer;

/// Trains a VAE as `config` says and leaves a model directory in the run's folder.
///
/// # Errors
/// If the configuration is impossible, the data cannot be read, or the run's folder cannot be
/// written.
pub fn train(
    config: &VaeRun,
    resume: bool,
    device: &Device,
    interrupter: Interrupter,
) -> Result<Ending> {
    config.vae.validate()?;
    let data = open_clips(&config.data)?.split;
    let size = config.vae.image_size();
    let first = &data.items([0])?[0].clip;
    ensure!(
        (first.width(), first.height()) == (size, size),
        "the clips are {}x{} and vae.image_size = {size}; they must be equal",
        first.width(),
        first.height()
    );

    let mut run = Run::open(&config.run, config, resume, interrupter)?;
    let device = device.clone().autodiff();
    device.seed(config.run.seed);
    let vae = config.vae.init(&device)?;
    run.line(format!(
        "{} clips to train on; {:.2} M parameters",
        data.training().len(),
        vae.num_params() as f64 / 1e6
    ));
    let mut trainer = Trainer::new(vae, &config.optimizer, config.run.steps);
    run.resume(&mut trainer)?;
    let mut batches = data.batches(&config.run, trainer.step)?;
    let held_out = data.items(data.held_out())?;

    while !trainer.is_done() && !run.is_interrupted() {
        let batch = VideoBatch::new(&batches.next_batch()?, &device);
        let draw = Draw {
            seed: config.run.seed,
            step: trainer.step as u64,
        };
        let loss = loss(&trainer.model, batch.pixels, &config.loss, draw);
        let value = loss.clone().into_scalar::<f32>();
        let report = trainer.update(loss);
        run.log(trainer.step, value.into(), report)?;

        if run.eval_is_due(trainer.step) && !held_out.is_empty() {
            let psnr = reconstruction_psnr(&trainer.ema, &held_out, config.run.batch_size);
            run.measure(trainer.step, "held_out_psnr_db", psnr)?;
        }
        if run.checkpoint_is_due(trainer.step) {
            run.checkpoint(&trainer)?;
            model(config, trainer.ema.clone())?.save(&run.model_dir(), Precision::Full)?;
        }
    }
    Ok(if trainer.is_done() {
        Ending::Finished
    } else {
        Ending::Interrupted
    })
}

/// The model directory's content: the VAE alone.
fn model(config: &VaeRun, vae: Vae) -> Result<VideoModel> {
    let mut model = VideoModel::init(
        ModelConfig {
            name: config.name.clone(),
            vae: Some(config.vae.clone()),
            sampling: SamplingConfig::default(),
            ..ModelConfig::default()
        },
        &vae.devices()[0],
    )?;
    model.set_vae(vae);
    Ok(model)
}

/// The image stage's loss (weighted absolute and squared error, divergence).
///
/// # Shapes
/// - `pixels`: `[batch, frames, 3, height, width]`
/// - output: `[1]`
pub fn loss(vae: &Vae, pixels: Tensor<5>, config: &VaeLossConfig, draw: Draw) -> Tensor<1> {
    let posterior = vae.encode(pixels.clone());
    let latents = match config.sample_posterior {
        true => draw.sample(&posterior),
        false => posterior.mean(),
    };
    let difference = vae.decode(latents) - pixels.clone();
    let weights = (config.foreground > 0.0).then(|| foreground_weights(pixels, config.foreground));
    let weighted = |error: Tensor<5>| match &weights {
        Some(weights) => (error * weights.clone()).mean(),
        None => error.mean(),
    };
    let mut loss = weighted(difference.clone().abs()) * config.l1;
    if config.l2 > 0.0 {
        loss = loss + weighted(difference.square()) * config.l2;
    }
    if config.kl > 0.0 {
        loss = loss + posterior.kl().mean() * config.kl;
    }
    loss
}

/// Addresses the random numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Seed of the run.
    pub seed: u64,
    /// Number of the step.
    pub step: u64,
}

impl Draw {
    /// # Shapes
    /// - output: `[batch, frames, tokens, channels]`
    fn sample(self, posterior: &Posterior) -> Tensor<4> {
        let mean = posterior.mean();
        let shape = mean.shape();
        let noise = FrameNoise::new(self.seed);
        let noise = noise.frame(0, self.step, NoiseStream::Training, shape.num_elements());
        posterior.sample(Tensor::from_data(
            TensorData::new(noise, shape),
            &mean.device(),
        ))
    }
}

/// `1 + foreground * |pixel - median colour of the frame|` (largest channel), normalised to a mean
/// of 1 over the batch.
///
/// # Shapes
/// - `pixels`: `[batch, frames, 3, height, width]`
/// - output: `[batch, frames, 1, height, width]`
fn foreground_weights(pixels: Tensor<5>, foreground: f64) -> Tensor<5> {
    let [batch, frames, channels, height, width] = pixels.dims();
    let flat: Tensor<4> = pixels.clone().flatten(3, 4);
    let (sorted, _) = flat.sort_with_indices(3);
    let median = sorted
        .narrow(3, height * width / 2, 1)
        .reshape([batch, frames, channels, 1, 1]);
    let distance = (pixels - median).abs().max_dim(2);
    let weights = distance * foreground + 1.0;
    let mean = weights.clone().mean().reshape([1, 1, 1, 1, 1]);
    weights / mean
}

/// Mean squared error of the reconstruction of `items` as PSNR in dB.
fn reconstruction_psnr(vae: &Vae, items: &[VideoItem], batch_size: usize) -> f64 {
    let device = &vae.devices()[0];
    let (mut error, mut count) = (0.0, 0);
    for items in items.chunks(batch_size) {
        let pixels = VideoBatch::new(items, device).pixels;
        let output = vae.decode(vae.encode(pixels.clone()).mean());
        let difference = output.clamp(0.0, 1.0) - pixels;
        count += difference.shape().num_elements();
        error += f64::from(difference.square().sum().into_scalar::<f32>());
    }
    -10.0 * (error / count as f64).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_foreground_weighs_more() {
        // Three background pixels and one that differs by 0.5 in one channel.
        let pixels = Tensor::<1>::from_floats(
            [0.2, 0.2, 0.2, 0.7, 0.1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0],
            &Device::flex(),
        )
        .reshape([1, 1, 3, 2, 2]);
        let weights: Vec<f32> = foreground_weights(pixels, 4.0)
            .into_data()
            .iter::<f32>()
            .collect();
        // 1, 1, 1, 3 with a mean of 1.5.
        for (actual, expected) in weights.iter().zip([1.0, 1.0, 1.0, 3.0]) {
            assert!((actual - expected / 1.5).abs() < 1e-6, "{weights:?}");
        }
    }
}
