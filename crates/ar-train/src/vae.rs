//! The VAE stages: frames in, frames out.

mod accumulate;
mod adversary;
mod discriminator;
mod loss;
mod perceptual;
mod start;
#[cfg(test)]
mod testing;
mod validation;

use std::path::Path;

use ar_data::{VideoBatch, VideoItem, to_frames};
use ar_model::{ModelConfig, Precision, SamplingConfig, VideoModel};
use ar_vae::Vae;
use burn::module::Module;
use burn::tensor::Tensor;

use accumulate::{accumulate, accumulate_against};
pub use adversary::{Adversary, Balance, SkippedSteps};
pub use discriminator::PatchGan;
pub use loss::{PosteriorNoise, Reconstruction, loss, loss_checkpointed, pixel_loss};
pub use perceptual::Perceptual;
pub use validation::{reconstruction_psnr, validation_loss};

use crate::checkpoint::Checkpointed;
use crate::config::{CheckSizes, VaeRun};
use crate::data::{Clips, open_clips};
use crate::error::{BoxError, Result, ensure_config};
use crate::losses::Losses;
use crate::run::{Ending, Run, StageOptions};
use crate::samples;
use crate::trainer::{Position, StepReport, Trainer};
use crate::workers::Workers;

/// Clips that are shown beside their reconstruction.
const SHOWN: usize = 8;

/// Trains a VAE as `config` says, with all of `workers`, and leaves a model directory in the run's folder.
///
/// # Errors
/// If the configuration is impossible, the data cannot be read, or the run's folder cannot be
/// written.
pub fn train(config: &VaeRun, workers: &Workers, options: &StageOptions) -> Result<Ending> {
    config.check_sizes()?;
    start::validate(config)?;
    workers.check(config.precision)?;
    // Burn moves running statistics of a batch norm that is copied to another device away from the
    // original.
    ensure_config!(
        config.discriminator.is_none() || workers.devices.len() == 1,
        ["discriminator"],
        "the discriminator trains on one device a process and {} are given: share the work between \
         processes with mpirun, or train without [discriminator]",
        workers.devices.len()
    );
    let opened = open_clips(&config.data, options)?;
    // All processes leave together.
    let is_interrupted = workers.group.any(opened.is_none());
    let (Some(clips), false) = (opened, is_interrupted) else {
        return Ok(Ending::NotStarted);
    };
    let Clips {
        split: data,
        report,
        ..
    } = clips;
    let size = config.vae.image_size();
    let first = data.first()?.clip;
    ensure_config!(
        (first.width(), first.height()) == (size, size),
        ["vae.image_size"],
        "the clips are {}x{} and vae.image_size = {size}; they must be equal",
        first.width(),
        first.height()
    );
    let workers = workers.autodiff();
    let device = workers.main_device();
    device.seed(config.run.seed);
    let vae = start::network(config, device)?;
    let perceptual = Perceptual::load(&config.loss, device)?;

    let mut run = Run::open(config, workers.group.clone(), options)?;
    report.iter().for_each(|line| run.line(line));
    run.note_clips(data.clips())?;
    run.line(format!(
        "{} clips to train on; {:.2} M parameters",
        data.training().len(),
        vae.num_params() as f64 / 1e6
    ));
    if perceptual.is_none() && config.loss.lpips > 0.0 {
        run.line(format!(
            "loss.lpips = {} and [loss.lpips_weights] is not given: training goes without LPIPS",
            config.loss.lpips
        ));
    }
    let mut training = Training::new(config, vae, perceptual, &workers);
    run.restore(&mut training)?;
    let mut batches = data.batches(&config.run, run.positions())?;
    let validation = data.items(run.measured(data.validation()).iter().copied())?;
    if training.trainer.is_done() && run.is_leader() {
        training.model()?.save(run.model_dir(), Precision::Full)?;
    }

    while !training.trainer.is_done() && !run.is_interrupted() {
        let (losses, report) = training.step(&batches.next_batch()?, run.first_clip());
        run.step(losses.means(), report)?;
        let discriminator = training.discriminator_skipped();
        if let Some((skipped, most)) = discriminator {
            run.measure("discriminator_skipped_steps", skipped.total as f64)?;
            run.check_skipped("discriminator.optimizer", skipped.in_a_row, most)?;
        }

        // Before what may fail or take long.
        if run.checkpoint_is_due(discriminator.is_some()) {
            run.checkpoint(&training)?;
            training.model()?.save(run.model_dir(), Precision::Full)?;
        }
        if run.eval_is_due() && !validation.is_empty() {
            let psnr =
                reconstruction_psnr(&training.trainer.ema, &validation, config.run.batch_size);
            run.measure("validation_psnr_db", psnr)?;
            run.measure("validation_loss", training.validation_loss(&validation))?;
        }
        if run.samples_are_due() && !validation.is_empty() {
            let shown = &validation[..validation.len().min(SHOWN)];
            show(
                &training.trainer.ema,
                shown,
                &run.sample_path(report.position.step),
            )?;
        }
        if run.late_checkpoint_is_due(discriminator.is_some()) {
            run.checkpoint(&training)?;
            training.model()?.save(run.model_dir(), Precision::Full)?;
        }
        run.restart_clock();
    }
    run.finish()
}

/// All that trains in a VAE stage.
struct Training<'a> {
    config: &'a VaeRun,
    trainer: Trainer<Vae>,
    perceptual: Option<Perceptual>,
    adversary: Option<Adversary>,
}

impl<'a> Training<'a> {
    fn new(
        config: &'a VaeRun,
        vae: Vae,
        perceptual: Option<Perceptual>,
        workers: &Workers,
    ) -> Self {
        let steps = config.run.steps;
        let discriminator = config.discriminator.as_ref();
        Self {
            config,
            trainer: Trainer::new(vae, &config.optimizer, steps)
                .with_precision(config.precision)
                .with_workers(workers),
            perceptual,
            adversary: discriminator.map(|config| Adversary::new(config, steps, workers)),
        }
    }

    /// One step on the clips `items`, of which the first has the place `first_clip` in the step.
    fn step(&mut self, items: &[VideoItem], first_clip: usize) -> (Losses, StepReport) {
        let step = self.trainer.step();
        let noise = PosteriorNoise {
            seed: self.config.run.seed,
            step: step as u64,
            first_clip,
        };
        let is_active = |adversary: &&mut Adversary| adversary.is_active(step);
        let perceptual = self.perceptual.as_ref();
        match self.adversary.as_mut().filter(is_active) {
            None => {
                let losses = accumulate(self.config, &mut self.trainer, perceptual, items, noise);
                (losses, self.trainer.update())
            }
            Some(adversary) => {
                let trainer = &mut self.trainer;
                let losses =
                    accumulate_against(self.config, adversary, trainer, perceptual, items, noise);
                let report = trainer.update();
                adversary.update(step);
                (losses, report)
            }
        }
    }

    /// The mean loss of the averaged VAE over the clips `items`, but for the adversarial part.
    fn validation_loss(&self, items: &[VideoItem]) -> f64 {
        let perceptual = self.perceptual.as_ref().map(Perceptual::valid);
        let (config, seed) = (&self.config.loss, self.config.run.seed);
        validation_loss(&self.trainer.ema, items, config, seed, perceptual.as_ref())
    }

    /// What the discriminator has skipped and may skip in a row, if its last step was skipped.
    fn discriminator_skipped(&self) -> Option<(SkippedSteps, usize)> {
        let adversary = self.adversary.as_ref()?;
        let skipped = adversary.skipped();
        (skipped.in_a_row > 0).then(|| (skipped, adversary.max_skipped()))
    }

    /// The model directory's content: the averaged VAE alone.
    fn model(&self) -> Result<VideoModel> {
        let vae = self.trainer.ema.clone();
        let mut model = VideoModel::init(
            ModelConfig {
                name: self.config.name.clone(),
                vae: Some(self.config.vae.clone()),
                sampling: SamplingConfig::default(),
                ..ModelConfig::default()
            },
            &vae.devices()[0],
        )?;
        model.set_vae(vae);
        Ok(model)
    }
}

impl Checkpointed for Training<'_> {
    fn position(&self) -> Position {
        self.trainer.position
    }

    fn save(&self, folder: &Path) -> Result<(), BoxError> {
        self.trainer.save(folder)?;
        match &self.adversary {
            Some(adversary) => adversary.save(folder),
            None => Ok(()),
        }
    }

    fn load(&mut self, folder: &Path, position: Position) -> Result<(), BoxError> {
        self.trainer.load(folder, position)?;
        match &mut self.adversary {
            Some(adversary) => adversary.load(folder),
            None => Ok(()),
        }
    }
}

/// Clips above their reconstructions: a picture of single frames, else a video.
fn show(vae: &Vae, items: &[VideoItem], path: &Path) -> Result<()> {
    let pixels = VideoBatch::new(items, &vae.devices()[0]).pixels;
    let [_, length, ..] = pixels.dims();
    let output = vae.decode(vae.encode(pixels.clone()).mean());
    let both: Tensor<5> = Tensor::cat(vec![pixels, output], 0);
    let frames = to_frames(both.flatten(0, 1));
    let clips: Vec<_> = frames.chunks_exact(length).collect();
    Ok(samples::write(
        path,
        &clips,
        items.len(),
        SamplingConfig::default().fps,
    )?)
}
