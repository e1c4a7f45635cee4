//! The diffusion stage: latents in, a transformer out.

use anyhow::{Result, ensure};
use ar_data::{LatentBatch, LatentDataset, LatentItem};
use ar_diffusion::{Denoiser, Diffusion};
use ar_dit::Positions;
use ar_model::{LatentStatistics, ModelConfig, Precision, Transformer, VideoModel};
use ar_ops::noise::{FrameNoise, NoiseStream};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_dataset::Dataset;
use burn_train::Interrupter;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::DiffusionRun;
use crate::data::{Split, open_latents};
use crate::latents::load_vae;
use crate::run::{Ending, Run};
use crate::trainer::Trainer;

/// Trains a transformer as `config` says and leaves a complete model directory, VAE included, in
/// the run's folder.
///
/// # Errors
/// If the configuration is impossible, the data cannot be read, or the run's folder cannot be
/// written.
pub fn train(
    config: &DiffusionRun,
    resume: bool,
    device: &Device,
    interrupter: Interrupter,
) -> Result<Ending> {
    let mut model_config = ModelConfig {
        name: config.name.clone(),
        sampling: config.sampling.clone(),
        diffusion: config.diffusion.clone(),
        conditioning: config.conditioning.clone(),
        latent_statistics: None,
        transformer: Some(config.transformer.clone()),
        vae: None,
    };
    model_config.validate()?;
    ensure!(
        (0.0..=1.0).contains(&config.context_dropout),
        "context_dropout = {} is no probability; it must be in 0..=1",
        config.context_dropout
    );
    ensure!(
        (0.0..=1.0).contains(&config.short_clips),
        "short_clips = {} is no probability; it must be in 0..=1",
        config.short_clips
    );
    let vae = load_vae(&config.vae, device)?;
    let latents = open_latents(&config.data)?;
    check_latents(&latents, config)?;
    let mut run = Run::open(&config.run, config, resume, interrupter)?;
    if config.standardize_latents {
        model_config.latent_statistics = Some(statistics(&latents)?);
    }
    let data = Split::new(latents, &config.data)?;

    let device = device.clone().autodiff();
    device.seed(config.run.seed);
    let transformer = Transformer::new(&config.transformer, &config.conditioning, &device)?;
    run.line(format!(
        "{} clips to train on; {:.2} M parameters",
        data.training().len(),
        transformer.num_params() as f64 / 1e6
    ));
    let mut trainer = Trainer::new(transformer, &config.optimizer, config.run.steps);
    run.resume(&mut trainer)?;
    let objective = Objective {
        config,
        diffusion: config.diffusion.init()?,
        statistics: model_config.latent_statistics.clone(),
    };
    let mut batches = data.batches(&config.run, trainer.step)?;
    let held_out = data.items(data.held_out())?;

    while !trainer.is_done() && !run.is_interrupted() {
        let items = batches.next_batch()?;
        let draws = Draws {
            seed: config.run.seed,
            number: trainer.step as u64,
            short_clips: config.short_clips,
        };
        let loss = objective.loss(&trainer.model, &items, draws, &device)?;
        let value = loss.clone().into_scalar::<f32>();
        let report = trainer.update(loss);
        run.log(trainer.step, value.into(), report)?;

        if run.eval_is_due(trainer.step) && !held_out.is_empty() {
            let loss = objective.held_out_loss(&trainer.ema, &held_out)?;
            run.measure(trainer.step, "held_out_loss", loss)?;
        }
        if run.checkpoint_is_due(trainer.step) {
            run.checkpoint(&trainer)?;
            let mut model = VideoModel::init(model_config.clone(), &trainer.ema.devices()[0])?;
            model.set_transformer(trainer.ema.clone());
            model.set_vae(vae.vae()?.clone());
            model.save(&run.model_dir(), Precision::Full)?;
        }
    }
    Ok(if trainer.is_done() {
        Ending::Finished
    } else {
        Ending::Interrupted
    })
}

fn statistics(latents: &LatentDataset) -> Result<LatentStatistics> {
    let [clips, _, tokens, channels] = latents.shape();
    let mut values = Vec::new();
    for clip in 0..clips {
        values.extend(latents.get(clip)?.latents);
    }
    Ok(LatentStatistics::estimate(&values, [tokens, channels]))
}

fn check_latents(latents: &LatentDataset, config: &DiffusionRun) -> Result<()> {
    let [_, frames, tokens, channels] = latents.shape();
    let transformer = &config.transformer;
    let window = transformer.num_frames;
    let expected = [transformer.tokens_per_frame, transformer.in_channels];
    ensure!(
        [tokens, channels] == expected,
        "the latents are {tokens} tokens x {channels} channels a frame and the transformer has \
         tokens_per_frame x in_channels = {} x {}; they must be equal",
        expected[0],
        expected[1]
    );
    match transformer.positions {
        Positions::FrameRotary => ensure!(
            frames >= window,
            "the latents are clips of {frames} frames and the transformer has num_frames = \
             {window}; clips must be at least as long"
        ),
        Positions::SinCos | Positions::Rotary => ensure!(
            frames == window,
            "the latents are clips of {frames} frames and the transformer has num_frames = \
             {window}; they must be equal (longer clips are for positions = \"frame_rotary\")"
        ),
    }
    let largest = latents.labels().and_then(|labels| labels.iter().max());
    let classes = config.conditioning.classes;
    match (classes, largest) {
        (0, _) => {}
        (_, Some(&label)) => ensure!(
            label < classes,
            "the latents have label {label} and conditioning.classes = {classes}; labels must be \
             below it"
        ),
        (_, None) => anyhow::bail!(
            "conditioning.classes = {classes}, but the latents have no labels: encode a labelled \
             dataset, or set it to 0"
        ),
    }
    Ok(())
}

/// Addresses the random numbers of one evaluation of the loss: the same seed and number draw the
/// same timesteps and noise.
#[derive(Clone, Copy)]
struct Draws {
    seed: u64,
    number: u64,
    /// Probability of cutting the clips into shorter ones.
    short_clips: f64,
}

impl Draws {
    /// How long the pieces are that clips of `frames` frames are cut into: a proper divisor of
    /// `frames`, or all of them.
    fn length(&self, frames: usize, rng: &mut impl Rng) -> usize {
        let shorter: Vec<usize> = (1..frames).filter(|&n| frames.is_multiple_of(n)).collect();
        match rng.random_bool(self.short_clips) {
            true if !shorter.is_empty() => shorter[rng.random_range(..shorter.len())],
            _ => frames,
        }
    }
}

/// Every value `times` times: `a, a, b, b, ..`.
fn repeat_each(values: &[usize], times: usize) -> Vec<usize> {
    let each = values
        .iter()
        .map(|&value| std::iter::repeat_n(value, times));
    each.flatten().collect()
}

/// The number under which held-out data is measured; training steps stay far below.
const HELD_OUT: u64 = u64::MAX;

struct Objective<'a> {
    config: &'a DiffusionRun,
    diffusion: Diffusion,
    statistics: Option<LatentStatistics>,
}

impl Objective<'_> {
    /// The diffusion loss of a batch (method section 2) at drawn timesteps and noise.
    fn loss(
        &self,
        transformer: &Transformer,
        items: &[LatentItem],
        draws: Draws,
        device: &Device,
    ) -> Result<Tensor<1>> {
        let config = self.config;
        let batch = LatentBatch::new(items, device);
        let x0 = match &self.statistics {
            Some(statistics) => statistics.standardize(batch.latents),
            None => batch.latents,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(draws.seed);
        rng.set_stream(draws.number);
        let [clips, frames, tokens, channels] = x0.dims();
        let length = draws.length(frames, &mut rng);
        let pieces = frames / length;
        let x0 = x0.reshape([clips * pieces, length, tokens, channels]);
        let [clips, frames, ..] = x0.dims();
        let total = self.diffusion.schedule().timesteps();
        let timesteps: Vec<usize> = (0..clips)
            .flat_map(|_| config.timestep_sampler.sample(frames, total, &mut rng))
            .collect();
        let dropped: Vec<bool> = (0..clips)
            .map(|_| rng.random_bool(config.context_dropout))
            .collect();
        let noise = FrameNoise::new(draws.seed);
        let noise: Vec<f32> = (0..clips as u64)
            .flat_map(|clip| {
                // The step takes the place of the frame: one draw covers the whole clip.
                noise.frame(
                    clip,
                    draws.number,
                    NoiseStream::Training,
                    frames * tokens * channels,
                )
            })
            .collect();
        let noise = Tensor::from_data(TensorData::new(noise, x0.dims()), device);

        let noisy = self
            .diffusion
            .corrupt(x0.clone(), noise.clone(), &timesteps);
        let target = self.diffusion.target(x0, noise, &timesteps);
        let t: Vec<i64> = timesteps.iter().map(|&t| t as i64).collect();
        let t = Tensor::<2, Int>::from_data(TensorData::new(t, [clips, frames]), device);
        let labels = batch.labels.filter(|_| config.conditioning.classes > 0);
        let labels = labels.map(|labels| repeat_each(&labels, pieces));
        let context = transformer
            .context()
            .training(labels.as_deref(), &dropped)?;
        let prediction = transformer.predict(noisy, t, context);
        Ok(config.loss.loss(prediction, target))
    }

    /// The mean loss over held-out clips, at the same timesteps and noise every time.
    fn held_out_loss(&self, transformer: &Transformer, items: &[LatentItem]) -> Result<f64> {
        let device = &transformer.devices()[0];
        let draws = Draws {
            seed: self.config.run.seed,
            number: HELD_OUT,
            short_clips: 0.0,
        };
        let mut sum = 0.0;
        for items in items.chunks(self.config.run.batch_size) {
            let loss = self.loss(transformer, items, draws, device)?;
            sum += f64::from(loss.into_scalar::<f32>()) * items.len() as f64;
        }
        Ok(sum / items.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_clips_divide_the_whole() {
        let lengths = |short_clips| {
            let draws = Draws {
                seed: 0,
                number: 0,
                short_clips,
            };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            (0..64)
                .map(|_| draws.length(6, &mut rng))
                .collect::<std::collections::BTreeSet<usize>>()
        };
        assert_eq!(lengths(0.0), [6].into());
        assert_eq!(lengths(1.0), [1, 2, 3].into());
        assert_eq!(lengths(0.5), [1, 2, 3, 6].into());
    }

    #[test]
    fn pieces_keep_the_label_of_their_clip() {
        assert_eq!(repeat_each(&[4, 7], 3), [4, 4, 4, 7, 7, 7]);
    }
}
