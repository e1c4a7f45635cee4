//! The VAE stages: frames in, frames out.

mod accumulate;
mod adversary;
mod discriminator;
mod objective;
mod perceptual;
mod start;
#[cfg(test)]
mod testing;
mod tokenizer;
mod validation;

use std::path::Path;

use ar_data::{VideoBatch, VideoItem, to_frames};
use ar_model::{ModelConfig, Precision, SamplingConfig, VideoModel};
use ar_vae::Vae;
use burn::module::Module;
use burn::tensor::Tensor;

use accumulate::StepClips;
pub use adversary::{Adversary, Balance, SkippedSteps, Turn};
pub use discriminator::PatchGan;
pub use objective::{PosteriorNoise, Reconstruction, VaeObjective};
pub use perceptual::Perceptual;
pub use validation::reconstruction_psnr;

use crate::checkpoint::Checkpointed;
use crate::config::{CheckSizes, VaeRun};
use crate::data::{Clips, open_clips};
use crate::error::{BoxError, Result, ensure_config};
use crate::forecast::{Begun, Forecast};
use crate::losses::Losses;
use crate::run::{Ending, Run, StageOptions};
use crate::samples;
use crate::start_from::started;
use crate::trainer::{Position, StepReport, Trainer};
use crate::workers::Workers;

/// Number of clips that are shown with their reconstructions.
const SHOWN: usize = 8;

/// Trains a VAE according to `config`, with all of `workers`, and writes a model directory into the run's folder.
///
/// # Errors
/// If the configuration is invalid, the data cannot be read, or the run's folder cannot be written.
pub fn train(config: &VaeRun, workers: &Workers, options: &StageOptions) -> Result<Ending> {
    let Some(Clips {
        split: data,
        report,
        ..
    }) = open(config, workers, options)?
    else {
        return Ok(Ending::NotStarted);
    };
    let workers = workers.autodiff();
    let device = workers.main_device();
    device.seed(config.run.seed);
    let mut vae = start::network(config, device)?;
    let objective = VaeObjective::load(&config.loss, device)?;

    if let Some(dir) = &config.start_from {
        Run::check_model_dir(&config.run, "start_from", dir)?;
    }
    let mut run = Run::open(config, workers.group.clone(), options)?;
    report.iter().for_each(|line| run.line(line));
    run.note_clips(data.clips())?;
    // A checkpoint has all weights, and the model that the run started from may no longer exist.
    if let Some(path) = config.start_from.as_ref().filter(|_| !run.is_resumed()) {
        let taken = start::start(&mut vae, config, path)?;
        run.line(started(path, &taken));
    }
    run.line(format!(
        "{} clips to train on; {:.2} M parameters",
        data.training().len(),
        vae.num_params() as f64 / 1e6
    ));
    let mut training = Training::new(config, vae, objective, &workers);
    run.restore(&mut training)?;
    let mut batches = data.batches(&config.run, run.positions())?;
    let validation = data.items(run.measured(data.validation()).iter().copied())?;
    if training.trainer.is_done() && run.is_leader() {
        training.model()?.save(run.model_dir(), Precision::Full)?;
    }

    let measure = |run: &mut Run, training: &Training<'_>| {
        let psnr = reconstruction_psnr(&training.trainer.ema, &validation, config.run.batch_size);
        run.measure("validation_psnr_db", psnr)?;
        run.measure("validation_loss", training.validation_loss(&validation))
    };
    let sample = |run: &Run, training: &Training<'_>| {
        let shown = &validation[..validation.len().min(SHOWN)];
        let path = run.sample_path(training.trainer.step());
        show(&training.trainer.ema, shown, &path)
    };
    // The last of its measurements.
    if !validation.is_empty() && run.eval_is_missing("validation_loss")? {
        measure(&mut run, &training)?;
    }
    if !validation.is_empty() && run.samples_are_missing() {
        sample(&run, &training)?;
    }
    run.restart_clock();

    while !training.trainer.is_done() && !run.is_interrupted() {
        let items = batches.next_batch()?;
        let (losses, report) = training.step(&items, run.first_clip())?;
        run.step(losses.means(), report)?;
        let discriminator = training.discriminator_skipped();
        if let Some((skipped, most)) = discriminator {
            run.measure("discriminator_skipped_steps", skipped.total as f64)?;
            run.check_skipped("discriminator.optimizer", skipped.in_a_row, most)?;
        }
        run.prove(discriminator.is_some())?;

        // Before anything that may fail or take long.
        if run.checkpoint_is_due(discriminator.is_some()) {
            run.checkpoint(&training, || Ok(training.losses_of(&items[..1])))?;
            training.model()?.save(run.model_dir(), Precision::Full)?;
        }
        if run.eval_is_due() && !validation.is_empty() {
            measure(&mut run, &training)?;
        }
        if run.samples_are_due() && !validation.is_empty() {
            sample(&run, &training)?;
        }
        if run.late_checkpoint_is_due(discriminator.is_some()) {
            run.checkpoint(&training, || Ok(training.losses_of(&items[..1])))?;
            training.model()?.save(run.model_dir(), Precision::Full)?;
        }
        run.restart_clock();
    }
    run.finish()
}

/// Checks the configuration, and opens its clips; None if that is interrupted.
fn open(config: &VaeRun, workers: &Workers, options: &StageOptions) -> Result<Option<Clips>> {
    config.check_sizes()?;
    start::validate(config)?;
    workers.check(config.precision)?;
    // When a batch norm is copied to another device, Burn moves its running statistics away from the original.
    ensure_config!(
        config.discriminator.is_none() || workers.devices.len() == 1,
        ["discriminator"],
        "the discriminator trains on one device per process, but {} are given: share the work \
         between processes with mpirun, or train without [discriminator]",
        workers.devices.len()
    );
    let opened = open_clips(&config.data, options)?;
    // All processes stop together.
    let is_interrupted = workers.group.any(opened.is_none());
    let (Some(clips), false) = (opened, is_interrupted) else {
        return Ok(None);
    };
    let size = config.vae.image_size();
    let first = clips.split.first()?.clip;
    ensure_config!(
        (first.width(), first.height()) == (size, size),
        ["vae.image_size"],
        "the clips are {}x{} and vae.image_size = {size}; they must be equal",
        first.width(),
        first.height()
    );
    Ok(Some(clips))
}

/// How much time and memory [`train`] will need, measured in a few steps with the first clips; nothing is written. None
/// if reading the clips is interrupted.
///
/// # Errors
/// If the configuration is invalid, or the data cannot be read.
pub fn forecast(
    config: &VaeRun,
    workers: &Workers,
    options: &StageOptions,
) -> Result<Option<Forecast>> {
    let Some(clips) = open(config, workers, options)? else {
        return Ok(None);
    };
    let training = clips.split.training().iter().cycle();
    let places = training.take(config.run.clips_per_step()).copied();
    let items = clips.split.items(places)?;
    let workers = workers.autodiff();
    let device = workers.main_device();
    if let Some(path) = &config.start_from {
        // What training would refuse, this refuses.
        start::start(&mut start::network(config, device)?, config, path)?;
    }
    let configs = [false, true].map(|activation_checkpointing| VaeRun {
        activation_checkpointing,
        ..config.clone()
    });
    let forecast = Forecast::measure(config, device, |activation_checkpointing| {
        let config = &configs[usize::from(activation_checkpointing)];
        let vae = start::network(config, device)?;
        let parameters = vae.num_params();
        let objective = VaeObjective::load(&config.loss, device)?;
        let mut training = Training::new(config, vae, objective, &workers);
        let items = &items;
        let step = move |_| training.step(items, 0).map(|_| ());
        Ok(Begun { parameters, step })
    });
    forecast.map(Some)
}

/// Everything that trains in a VAE stage.
struct Training<'a> {
    config: &'a VaeRun,
    trainer: Trainer<Vae>,
    objective: VaeObjective<'a>,
    adversary: Option<Adversary>,
}

impl<'a> Training<'a> {
    fn new(config: &'a VaeRun, vae: Vae, objective: VaeObjective<'a>, workers: &Workers) -> Self {
        let steps = config.run.steps;
        let discriminator = config.discriminator.as_ref();
        Self {
            config,
            trainer: Trainer::new(vae, &config.optimizer, steps)
                .with_precision(config.precision)
                .with_workers(workers),
            objective,
            adversary: discriminator.map(|config| Adversary::new(config, steps, workers)),
        }
    }

    /// One step on the clips `items`, of which the first has position `first_clip` in the step.
    fn step(&mut self, items: &[VideoItem], first_clip: usize) -> Result<(Losses, StepReport)> {
        let step = self.trainer.step();
        let clips = StepClips {
            config: self.config,
            objective: &self.objective,
            items,
            noise: PosteriorNoise {
                seed: self.config.run.seed,
                step: step as u64,
                first_clip,
            },
        };
        let trainer = &mut self.trainer;
        let turn = self
            .adversary
            .as_ref()
            .map(|adversary| adversary.turn(step));
        Ok(match (turn, self.adversary.as_mut()) {
            (Some(Turn::Discriminator), Some(adversary)) => {
                let losses = clips.accumulate_discriminator(adversary, trainer.model());
                adversary.update(step);
                (losses, trainer.rest())
            }
            (Some(turn @ (Turn::Vae | Turn::Both)), Some(adversary)) => {
                let both = turn == Turn::Both;
                let losses = clips.accumulate_against(adversary, trainer, both);
                let report = trainer.update();
                if both {
                    adversary.update(step);
                }
                (losses, report)
            }
            _ => {
                let losses = clips.accumulate(trainer)?;
                (losses, trainer.update())
            }
        })
    }

    /// The mean loss of the averaged VAE over the clips `items`, without the adversarial part.
    fn validation_loss(&self, items: &[VideoItem]) -> f64 {
        let seed = self.config.run.seed;
        let objective = self.objective.valid();
        objective.validation_loss(&self.trainer.ema, items, seed)
    }

    /// [`Self::validation_loss`] of the raw weights and of their average.
    fn losses_of(&self, items: &[VideoItem]) -> Vec<f64> {
        let seed = self.config.run.seed;
        let objective = self.objective.valid();
        let raw = self.trainer.model().valid();
        [&raw, &self.trainer.ema]
            .map(|vae| objective.validation_loss(vae, items, seed))
            .to_vec()
    }

    /// The steps that the discriminator has skipped, and how many it may skip in a row, if its last step was skipped.
    fn discriminator_skipped(&self) -> Option<(SkippedSteps, usize)> {
        let adversary = self.adversary.as_ref()?;
        let skipped = adversary.skipped();
        (skipped.in_a_row > 0).then(|| (skipped, adversary.max_skipped()))
    }

    /// The contents of the model directory: only the averaged VAE.
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

    fn exploded(&self) -> Option<String> {
        let adversary = self.adversary.as_ref();
        let of_adversary = || adversary.and_then(Adversary::exploded);
        self.trainer.exploded().or_else(of_adversary)
    }

    fn load(&mut self, folder: &Path, position: Position) -> Result<(), BoxError> {
        self.trainer.load(folder, position)?;
        match &mut self.adversary {
            Some(adversary) => adversary.load(folder),
            None => Ok(()),
        }
    }
}

/// Clips above their reconstructions: a picture of single frames, otherwise a video.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DiscriminatorConfig, OptimizerConfig};
    use crate::vae::testing::{items, small_conv};
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Device;

    /// All weights, concatenated, without the running statistics of batch norms, which every forward pass changes.
    fn values<M: Module>(network: &M) -> Vec<f32> {
        #[derive(Default)]
        struct Values {
            path: Vec<String>,
            values: Vec<f32>,
        }
        impl ModuleVisitor for Values {
            fn enter_module(&mut self, name: &str, _container_type: &str) {
                self.path.push(name.to_owned());
            }

            fn exit_module(&mut self, _name: &str, _container_type: &str) {
                self.path.pop();
            }

            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if !self.path.iter().any(|name| name.starts_with("running")) {
                    self.values.extend(param.val().into_data().iter::<f32>());
                }
            }
        }
        let mut values = Values::default();
        network.visit(&mut values);
        values.values
    }

    #[test]
    fn the_discriminator_and_the_vae_train_in_turns() {
        let config = VaeRun {
            vae: small_conv(),
            discriminator: Some(DiscriminatorConfig {
                start_step: 2,
                turns: true,
                filters: 4,
                layers: 1,
                ..DiscriminatorConfig::default()
            }),
            optimizer: OptimizerConfig {
                weight_decay: 0.1,
                ..OptimizerConfig::default()
            },
            ..VaeRun::default()
        };
        let workers = Workers::alone(Device::flex()).autodiff();
        let vae = config.vae.init(workers.main_device()).expect("a network");
        let objective = VaeObjective {
            config: &config.loss,
            perceptual: None,
        };
        let mut training = Training::new(&config, vae, objective, &workers);
        for step in 0..6 {
            let adversary = |training: &Training<'_>| {
                let adversary = training.adversary.as_ref();
                values(adversary.expect("a discriminator").network())
            };
            let before = (values(training.trainer.model()), adversary(&training));
            let average = values(&training.trainer.ema);
            let (losses, report) = training.step(&items(3), 0).expect("a step");
            let after = (values(training.trainer.model()), adversary(&training));
            let moved = (before.0 != after.0, before.1 != after.1);
            let names: Vec<&str> = losses.means().iter().map(|&(name, _)| name).collect();
            let against = ["loss", "adversarial_loss", "adversarial_weight"];
            match step {
                0 | 1 => assert_eq!((moved, &names[..]), ((true, false), &["loss"][..])),
                2 | 4 => assert_eq!((moved, &names[..]), ((true, false), &against[..])),
                _ => {
                    assert_eq!(moved, (false, true), "step {step}");
                    assert_eq!(names, ["discriminator_loss"]);
                    assert!(average == values(&training.trainer.ema));
                }
            }
            assert_eq!(report.position.step, step + 1);
        }
    }
}
