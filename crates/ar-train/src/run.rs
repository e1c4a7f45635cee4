//! A run and its folder: configuration, checkpoints, log, and interruption. Only the leader of a
//! run's processes writes, evaluates and samples; the others compute.
//!
//! ```text
//! RUN/config.toml                     the resolved configuration
//! RUN/clips.txt                       the number of clips that it was last started with
//! RUN/metrics.jsonl                   one line every `log_every` steps
//! RUN/events.out.tfevents.*           the same for TensorBoard
//! RUN/curves.svg                      the same as a picture, when the run ends
//! RUN/samples/                        what the averaged weights make, every `sample_every` steps
//! RUN/checkpoints/step-00000500/      everything that resuming needs
//! RUN/model/                          the model directory, from the averaged weights
//! ```

mod clips;
mod due;
mod open;
mod options;
#[cfg(test)]
mod testing;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ar_data::DataCursor;
use ar_files::{FolderLock, lies_in};
use burn_train::Interrupter;
pub use options::StageOptions;

use crate::checkpoint::{CANNOT_RESUME, CheckpointState, Checkpointed, Checkpoints};
use crate::config::RunConfig;
use crate::error::{ConfigError, Error, Result, ensure_config};
use crate::group::Group;
use crate::log::Log;
use crate::trainer::{Position, StepReport};

/// A run in progress.
pub struct Run {
    config: RunConfig,
    /// The resolved configuration of the stage, as TOML.
    resolved: String,
    max_skipped: usize,
    interrupter: Interrupter,
    /// Whether any process of the group had been asked to stop when they last communicated.
    interrupted: bool,
    group: Rc<dyn Group>,
    checkpoints: Checkpoints,
    /// Keeps others from working in the folder; only in the leader.
    _lock: Option<FolderLock>,
    /// Whether no finite step has followed the newest checkpoint yet. Its weights may have
    /// exploded, so it does not count as good.
    unproven: bool,
    /// The first loss of the run, in whichever process.
    first_loss: Option<f64>,
    /// How many of the last steps had a loss that [has exploded](EXPLODED).
    exploded: usize,
    /// Checksum of the VAE whose latents the run trains on.
    vae: Option<String>,
    /// The step that the run continues from.
    resumed_at: Option<usize>,
    /// The checkpoint to continue from.
    newest: Option<(PathBuf, CheckpointState)>,
    /// Only in the leader.
    log: Option<Log>,
    position: Position,
    clips: u64,
}

/// A loss so many times the first one, or as many times 1 if that is larger, has exploded: networks that
/// have learnt nothing yet make smaller ones.
const EXPLODED: f64 = 1000.0;

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was interrupted; `--resume` continues it.
    Interrupted,
    /// It was interrupted while it read the data, so there is nothing to resume.
    NotStarted,
}

impl Run {
    /// The model directory that the run writes.
    pub fn model_dir(&self) -> PathBuf {
        model_dir(&self.config)
    }

    /// Fails if the model directory that a run writes is the one that it reads, in the key `key`.
    pub(crate) fn check_model_dir(
        config: &RunConfig,
        key: &str,
        read: &Path,
    ) -> Result<(), ConfigError> {
        let written = model_dir(config);
        ensure_config!(
            !lies_in(read, &written),
            [key, "run.out"],
            "{key} = {} is the model that the run in {} would replace: choose another folder with \
             `--set run.out=FOLDER`",
            read.display(),
            config.out.display()
        );
        Ok(())
    }

    /// The path of samples after `step` steps, without an extension.
    pub fn sample_path(&self, step: usize) -> PathBuf {
        let samples = self.config.out.join("samples");
        samples.join(format!("step-{step:08}"))
    }

    /// Whether there is a checkpoint to [`restore`](Self::restore), which replaces all weights.
    pub fn is_resumed(&self) -> bool {
        self.newest.is_some()
    }

    /// Loads the checkpoint that the run was opened at into `training`, if there is one.
    ///
    /// # Errors
    /// If the checkpoint does not fit the configured network.
    pub fn restore(&mut self, training: &mut dyn Checkpointed) -> Result<()> {
        if let Some((folder, state)) = self.newest.take()
            && let Err(error) = training.load(&folder, state.position)
        {
            let advice = self.checkpoints.instead_of(&folder)?;
            let message = format!("{error}; {advice}");
            return Err(Error::checkpoint(CANNOT_RESUME, folder)(message));
        }
        Ok(())
    }

    /// Records that the dataset has `clips` clips, and reports it if the number changed in a
    /// resumed run.
    ///
    /// # Errors
    /// If the folder of the run cannot be read or written.
    pub fn note_clips(&self, clips: usize) -> Result<()> {
        if !self.is_leader() {
            return Ok(());
        }
        let before = clips::note(&self.config.out, clips)?;
        if let Some(before) = before.filter(|_| self.clips > 0) {
            self.line(format!(
                "the dataset has {clips} clips and had {before} when the run was last started: \
                 from here on it sees other clips, in another order"
            ));
        }
        Ok(())
    }

    /// Number of clips that training has seen.
    pub fn clips(&self) -> u64 {
        self.clips
    }

    /// The position at which this process continues in the data.
    pub fn positions(&self) -> DataCursor {
        DataCursor {
            first: self.clips,
            process: self.group.rank(),
            processes: self.group.size(),
        }
    }

    /// Number of clips in a step, over all processes.
    pub fn clips_per_step(&self) -> usize {
        self.config.clips_per_step() * self.group.size()
    }

    /// Position in the step of this process's first clip.
    pub fn first_clip(&self) -> usize {
        self.config.clips_per_step() * self.group.rank()
    }

    /// Whether this process evaluates and samples.
    pub fn is_leader(&self) -> bool {
        self.group.is_leader()
    }

    /// The `validation` clips that this process reads: all of them if it evaluates, otherwise none.
    pub fn measured<'a>(&self, validation: &'a [usize]) -> &'a [usize] {
        if self.is_leader() { validation } else { &[] }
    }

    /// Records a step with its losses, of which the first is minimised, and a line of metrics every
    /// `log_every` steps. Losses are averaged over the processes.
    ///
    /// # Errors
    /// If too many steps in a row were skipped, or a file of the log cannot be written.
    pub fn step(&mut self, losses: &[(&'static str, f64)], report: StepReport) -> Result<()> {
        self.position = report.position;
        self.clips += self.clips_per_step() as u64;
        let losses: Vec<_> = losses
            .iter()
            .map(|&(name, loss)| (name, self.group.mean(loss)))
            .collect();
        self.interrupted = self.group.any(self.interrupter.should_stop());
        if let Some(log) = &mut self.log {
            log.step(&losses, &report);
            let step = self.position.step;
            if step.is_multiple_of(self.config.log_every) || step == self.config.steps {
                log.flush(&report)?;
            }
        }
        self.check_skipped(
            "optimizer",
            self.position.skipped_in_a_row,
            self.max_skipped,
        )?;
        let loss = losses.iter().find(|(name, _)| *name == "loss");
        if let Some(&(_, loss)) = loss.filter(|_| !report.skipped) {
            self.check_loss(loss)?;
        }
        Ok(())
    }

    /// Ends the run if the loss of too many steps in a row has exploded.
    fn check_loss(&mut self, loss: f64) -> Result<()> {
        let first = *self.first_loss.get_or_insert(loss);
        if !self.is_exploded(loss) {
            self.exploded = 0;
            return Ok(());
        }
        self.exploded += 1;
        if self.exploded <= self.max_skipped {
            return Ok(());
        }
        Err(self.diverged(&format!(
            "the loss was more than {EXPLODED} times as large as at the start for {} steps in a row, \
             {loss:e} after {first:e} (optimizer.max_skipped = {})",
            self.exploded, self.max_skipped
        ))?)
    }

    /// Whether a loss is not finite, or absurdly larger than the first one.
    fn is_exploded(&self, loss: f64) -> bool {
        let first = self.first_loss.unwrap_or(1.0).abs().max(1.0);
        !loss.is_finite() || loss.abs() > EXPLODED * first
    }

    /// The error of a run that has diverged: what has, the last good checkpoint, and what may help. The
    /// curves are drawn.
    fn diverged(&self, what: &str) -> Result<Error> {
        let message = format!(
            "step {}: {what}; {}. A lower optimizer.learning_rate, a longer warm-up or a lower \
             optimizer.clip_norm may help",
            self.position.step,
            self.last_good()?
        );
        self.draw_curves()?;
        Ok(Error::Diverged(message))
    }

    /// Starts the next step: the time since the last one does not count as training time.
    pub fn restart_clock(&mut self) {
        if let Some(log) = &mut self.log {
            log.restart_clock();
        }
    }

    /// Ends the run if the optimizer configured by section `optimizer` has skipped more than `most`
    /// steps in a row.
    ///
    /// # Errors
    /// If it has, once the curves are drawn; the message names the last good checkpoint.
    pub fn check_skipped(&self, optimizer: &str, skipped: usize, most: usize) -> Result<()> {
        if skipped <= most {
            return Ok(());
        }
        let kept = self.last_good()?;
        let message = format!(
            "step {}: the loss or the gradient was not finite for {skipped} steps in a row \
             ({optimizer}.max_skipped = {most}); {kept}. A lower {optimizer}.learning_rate, a \
             longer warm-up or a lower {optimizer}.clip_norm may help",
            self.position.step,
        );
        self.draw_curves()?;
        Err(Error::Diverged(message))
    }

    /// Records how the step went; `is_skipping` says whether an optimizer is skipping steps that
    /// [`Self::step`] does not know about. After a step that no optimizer skipped, and whose loss has
    /// not exploded, the newest checkpoint counts as good, and old ones are removed.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn prove(&mut self, is_skipping: bool) -> Result<()> {
        let is_broken = is_skipping || self.position.skipped_in_a_row > 0 || self.exploded > 0;
        if !self.unproven || is_broken {
            return Ok(());
        }
        self.unproven = false;
        if !self.is_leader() {
            return Ok(());
        }
        self.checkpoints
            .prune(self.config.keep_checkpoints, self.config.keep_every)
    }

    /// Text that says what to continue from after training has diverged. A checkpoint after which
    /// every step failed is set aside.
    fn last_good(&self) -> Result<String> {
        let list = self.checkpoints.list()?;
        let good = match (self.unproven, list.as_slice()) {
            (true, [.., good, _]) | (false, [.., good]) => good,
            _ => return Ok("there is no good checkpoint yet".into()),
        };
        if self.unproven && self.is_leader() {
            self.checkpoints.put_aside(good.0, "diverged")?;
        }
        Ok(format!("the last good checkpoint is {}", good.1.display()))
    }

    /// Adds a measurement to the log.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn measure(&mut self, name: &str, value: f64) -> Result<()> {
        self.measure_in_parts(name, value, Vec::new())
    }

    /// Adds a measurement to the log, and its parts to the log's files.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn measure_in_parts(
        &mut self,
        name: &str,
        value: f64,
        parts: Vec<(String, f64)>,
    ) -> Result<()> {
        match &mut self.log {
            Some(log) => log.measure(self.position.step, name, value, parts),
            None => Ok(()),
        }
    }

    /// Whether any process had been asked to stop when the last step was done.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Writes a checkpoint, complete or not at all. Old ones are removed when it has
    /// [proven](Self::prove) good.
    ///
    /// `measure` computes losses with the weights as they are now, which no step has seen yet.
    ///
    /// # Errors
    /// If a weight or a loss has exploded, or it cannot be written.
    pub fn checkpoint(
        &mut self,
        training: &dyn Checkpointed,
        measure: impl FnOnce() -> Result<Vec<f64>>,
    ) -> Result<()> {
        if let Some(problem) = training.exploded() {
            return Err(self.diverged(&problem)?);
        }
        let mut exploded = measure()?
            .into_iter()
            .filter(|&loss| self.is_exploded(loss));
        if self.exploded > 0 || exploded.next().is_some() {
            let problem = "the loss has exploded, so no checkpoint is written";
            return Err(self.diverged(problem)?);
        }
        let state = CheckpointState {
            position: training.position(),
            clips: Some(self.clips),
            seed: Some(self.config.seed),
            checksums: true,
            first_loss: self.first_loss,
            vae: self.vae.clone(),
        };
        self.checkpoints.save(training, &state, &self.resolved)?;
        self.unproven = true;
        Ok(())
    }

    /// Shows a line without disturbing the progress bar.
    pub fn line(&self, text: impl AsRef<str>) {
        if let Some(log) = &self.log {
            log.line(text);
        }
    }

    /// Draws the curves and returns how the run ended.
    ///
    /// # Errors
    /// If the curves cannot be written.
    pub fn finish(self) -> Result<Ending> {
        self.draw_curves()?;
        Ok(if self.position.step >= self.config.steps {
            Ending::Finished
        } else {
            Ending::Interrupted
        })
    }

    fn draw_curves(&self) -> Result<()> {
        match &self.log {
            Some(log) => log.draw_curves(),
            None => Ok(()),
        }
    }
}

fn model_dir(config: &RunConfig) -> PathBuf {
    config.out.join("model")
}

#[cfg(test)]
mod tests {
    use super::testing::{config, open, step, trainer};
    use super::*;
    use crate::group::testing::together;
    use std::fs;

    #[test]
    fn a_run_that_stays_broken_ends_with_its_last_good_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        config.run.keep_checkpoints = 1;
        let mut run = open(&config, false).expect("a run");
        let mut trainer = trainer(&config);
        let broken = f32::NAN;
        for factor in [1.0, broken, broken, broken, 1.0, broken, broken, broken] {
            step(&mut run, &mut trainer, factor).expect("no more than allowed in a row");
        }
        let error = step(&mut run, &mut trainer, broken).expect_err("one too many");
        let error = error.to_string();
        assert!(error.contains("4 steps in a row"), "{error}");
        // The checkpoint of step 5 was followed only by broken steps.
        assert!(error.contains("checkpoints/step-00000001"), "{error}");
        let checkpoints = folder.path().join("checkpoints");
        assert!(checkpoints.join("diverged-step-00000005").is_dir());
        assert!(!checkpoints.join("step-00000005").exists());
        assert!(folder.path().join("curves.svg").is_file());
        let metrics = fs::read_to_string(folder.path().join("metrics.jsonl")).expect("metrics");
        let last = metrics.lines().last().expect("a line");
        assert!(last.contains("\"skipped_steps\":7.0"), "{last}");
        drop(run);
        let run = open(&config, true).expect("the run");
        assert_eq!(run.position.step, 1);
    }

    #[test]
    fn weights_that_are_not_finite_never_replace_a_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        config.run.keep_checkpoints = 1;
        let mut run = open(&config, false).expect("a run");
        let mut trainer = trainer(&config);
        for _ in 0..2 {
            step(&mut run, &mut trainer, 1.0).expect("a step");
        }
        let names = || -> Vec<_> {
            let entries = fs::read_dir(folder.path().join("checkpoints")).expect("checkpoints");
            let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        // No step has followed the second checkpoint yet.
        assert_eq!(names(), ["step-00000001", "step-00000002"]);
        trainer.ema.weight = trainer
            .ema
            .weight
            .clone()
            .map(|weight| weight * f32::INFINITY);
        let error = step(&mut run, &mut trainer, 1.0).expect_err("broken weights");
        let error = error.to_string();
        assert!(
            error.contains("weight is no longer finite") && error.contains("step-00000002"),
            "{error}"
        );
        assert_eq!(names(), ["step-00000002"]);
    }

    /// Of two steps, the first has a good checkpoint, and the second one that no step has followed yet.
    #[test]
    fn weights_and_losses_that_have_exploded_never_replace_a_checkpoint() {
        use burn::module::Param;
        use burn::tensor::Tensor;
        use burn_train::Interrupter;

        use super::testing::trainer as new_trainer;

        let full = |weight: Tensor<2>, value| Tensor::full(weight.shape(), value, &weight.device());
        let grown = |weight: Param<Tensor<2>>| weight.map(|weight| full(weight, 1e6));
        for (of_average, is_interrupted, what) in [
            (true, false, "and weights are at most 65504"),
            (
                false,
                false,
                "the loss was more than 1000 times as large as at the start for 4 steps",
            ),
            (
                false,
                true,
                "the loss has exploded, so no checkpoint is written",
            ),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut config = config(folder.path());
            config.run.keep_checkpoints = 1;
            let options = StageOptions {
                interrupter: Interrupter::new(),
                ..StageOptions::default()
            };
            let run = Run::open(&config, Rc::new(crate::group::Alone), &options);
            let mut run = run.expect("a run");
            let mut trainer = new_trainer(&config);
            for _ in 0..2 {
                step(&mut run, &mut trainer, 1.0).expect("a step");
            }
            if of_average {
                trainer.ema.weight = grown(trainer.ema.weight.clone());
            } else {
                let weight = trainer.learner.model.weight.clone();
                trainer.learner.model.weight =
                    weight.map(|weight| full(weight, 5e4).require_grad());
            }
            if is_interrupted {
                options.interrupter.stop(None);
            }
            let mut errors = (0..9).filter_map(|_| step(&mut run, &mut trainer, 1.0).err());
            let error = errors.next().expect("a run that diverges").to_string();
            assert!(error.contains(what), "{error}");
            // The second checkpoint is good if a step has followed that made a loss like others.
            let good = if of_average { 2 } else { 1 };
            let good = format!(
                "the last good checkpoint is {}",
                folder
                    .path()
                    .join(format!("checkpoints/step-{good:08}"))
                    .display()
            );
            assert!(error.contains(&good), "{error}");
            drop(run);
            let list = Checkpoints::new(folder.path()).list().expect("a list");
            assert!(list.last().is_some_and(|&(step, _)| step <= 2), "{list:?}");
            for (_, path) in list {
                assert!(
                    CheckpointState::read(path)
                        .expect("a state")
                        .first_loss
                        .is_some()
                );
            }
        }
    }

    #[test]
    fn a_loss_is_compared_with_the_first_one_of_the_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let mut run = open(&config, false).expect("a run");
        let mut trainer = trainer(&config);
        // A loss of any size may come first, and as many times 1 is none that has exploded.
        for factor in [1e5, 1e5, 1e-3, 1e-3, 1e5] {
            step(&mut run, &mut trainer, factor).expect("a step");
            assert_eq!(run.exploded, 0);
        }
        let first = run.first_loss;
        assert!(first.is_some());
        drop(run);
        let mut run = open(&config, true).expect("the run");
        assert_eq!(run.first_loss, first);
        step(&mut run, &mut trainer, 1e-3).expect("a step");
        assert_eq!(run.first_loss, first);
    }

    #[test]
    fn the_data_goes_on_where_it_was_even_with_other_batches() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        let mut run = open(&config, false).expect("a run");
        let mut first = trainer(&config);
        for _ in 0..3 {
            step(&mut run, &mut first, 1.0).expect("a step");
        }
        drop(run);
        config.run.batch_size = 2;
        config.run.accumulate = 3;
        let mut run = open(&config, true).expect("the run");
        let mut trainer = trainer(&config);
        run.restore(&mut trainer).expect("a fitting checkpoint");
        assert_eq!((trainer.step(), run.clips()), (3, 24));
        step(&mut run, &mut trainer, 1.0).expect("a step");
        assert_eq!(run.clips(), 30);
    }

    #[test]
    fn one_process_writes_and_any_of_them_stops_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let outcomes = together(3, |group| {
            let interrupter = Interrupter::new();
            let options = StageOptions {
                interrupter: interrupter.clone(),
                ..StageOptions::default()
            };
            let mut run = Run::open(&config, group.clone(), &options);
            let run = run.as_mut().expect("a run");
            assert_eq!(
                (run.clips_per_step(), run.first_clip()),
                (24, 8 * group.rank())
            );
            let mut trainer = trainer(&config);
            step(run, &mut trainer, 1.0).expect("a step");
            assert!(!run.is_interrupted());
            if group.rank() == 2 {
                interrupter.stop(None);
            }
            step(run, &mut trainer, 1.0).expect("a step");
            (
                run.is_interrupted(),
                run.clips(),
                run.checkpoint_is_due(false),
            )
        });
        let expected = [true, false, false].map(|is_leader| (true, 48, is_leader));
        assert_eq!(outcomes, expected);
        let metrics = fs::read_to_string(folder.path().join("metrics.jsonl")).expect("metrics");
        assert_eq!(metrics.lines().count(), 2, "{metrics}");

        let steps = together(2, |group| {
            let options = StageOptions {
                resume: true,
                ..StageOptions::default()
            };
            let run = Run::open(&config, group, &options).expect("the run");
            (run.position.step, run.clips())
        });
        assert_eq!(steps, [(2, 48), (2, 48)]);
    }
}
