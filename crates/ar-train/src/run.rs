//! The folder of a run: configuration, checkpoints, log; interruption. Of the processes of a run the
//! leader alone writes, measures and samples; the others compute.
//!
//! ```text
//! RUN/config.toml                     the resolved configuration
//! RUN/metrics.jsonl                   one line every `log_every` steps
//! RUN/events.out.tfevents.*           the same for TensorBoard
//! RUN/curves.svg                      the same as a picture, when the run ends
//! RUN/samples/                        what the averaged weights make, every `sample_every` steps
//! RUN/checkpoints/step-00000500/      everything that resuming needs
//! RUN/model/                          the model directory, from the averaged weights
//! ```

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use ar_data::Positions;
use ar_files::write_atomically;
use burn_train::Interrupter;
use crc32c::crc32c;

use crate::checkpoint::{CheckpointState, Checkpointed, Checkpoints};
use crate::config::RunConfig;
use crate::group::Group;
use crate::log::Log;
use crate::resume::{Change, StageConfig, changes};
use crate::trainer::{Position, StepReport};

/// A run in progress.
pub struct Run {
    config: RunConfig,
    /// The resolved configuration of the stage, as TOML.
    resolved: String,
    max_skipped: usize,
    interrupter: Interrupter,
    /// Whether a process of the group has been asked to stop, when they last asked each other.
    interrupted: bool,
    group: Rc<dyn Group>,
    checkpoints: Checkpoints,
    /// The checkpoint to go on from.
    newest: Option<(PathBuf, CheckpointState)>,
    /// The leader's.
    log: Option<Log>,
    position: Position,
    clips: u64,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// It was asked to stop; `--resume` goes on.
    Interrupted,
}

impl Run {
    /// Opens the folder of a run, at its newest complete checkpoint if `resume`, and writes the
    /// resolved configuration. All processes of `group` open it.
    ///
    /// # Errors
    /// If the folder cannot be written, holds a run and `resume` is false, a key changed that a run
    /// keeps, or the processes do not have the same configuration and checkpoint.
    pub fn open<C: StageConfig>(
        stage: &C,
        resume: bool,
        group: Rc<dyn Group>,
        interrupter: Interrupter,
    ) -> Result<Self> {
        let config = stage.run();
        for (key, value) in [
            ("steps", config.steps),
            ("batch_size", config.batch_size),
            ("accumulate", config.accumulate),
            ("log_every", config.log_every),
            ("keep_checkpoints", config.keep_checkpoints),
        ] {
            ensure!(value > 0, "run.{key} is 0; it must be at least 1");
        }
        let out = &config.out;
        let resolved = toml::to_string(stage)?;
        let checkpoints = Checkpoints::new(out);
        let (newest, changed) = match group.is_leader() {
            true => open_folder(stage, resume, &checkpoints, &resolved)?,
            false => (None, Vec::new()),
        };
        let newest = agree(&*group, newest, &checkpoints, &resolved)?;
        let newest = newest
            .map(|folder| anyhow::Ok((folder.clone(), CheckpointState::read(&folder)?)))
            .transpose()?;
        let position = newest
            .as_ref()
            .map_or_else(Position::default, |(_, state)| state.position);
        let clips = newest.as_ref().map_or(0, |(_, state)| state.clips(config));
        let log = match group.is_leader() {
            true => {
                let clips_per_step = config.clips_per_step() * group.size();
                Some(Log::open(config, clips_per_step, position.step)?)
            }
            false => None,
        };
        let run = Self {
            config: config.clone(),
            resolved,
            max_skipped: stage.max_skipped(),
            interrupter,
            interrupted: false,
            group,
            checkpoints,
            newest,
            log,
            position,
            clips,
        };
        match &run.newest {
            Some((folder, _)) => run.line(format!("resuming from {}", folder.display())),
            None if resume => run.line(format!(
                "no checkpoint in {}: starting at step 0",
                run.config.out.display()
            )),
            None => {}
        }
        for change in changed {
            run.line(format!("changed since then: {change}"));
        }
        Ok(run)
    }

    /// The model directory that the run writes.
    pub fn model_dir(&self) -> PathBuf {
        self.config.out.join("model")
    }

    /// Where samples after `step` steps go, with the extension still to be set.
    pub fn sample_path(&self, step: usize) -> PathBuf {
        let samples = self.config.out.join("samples");
        samples.join(format!("step-{step:08}"))
    }

    /// Puts `training` where the checkpoint stands that the run was opened at, if there is one.
    ///
    /// # Errors
    /// If the checkpoint does not fit the configured network.
    pub fn restore(&mut self, training: &mut dyn Checkpointed) -> Result<()> {
        if let Some((folder, state)) = self.newest.take() {
            training
                .load(&folder, state.position)
                .with_context(|| format!("cannot resume from {}", folder.display()))?;
        }
        Ok(())
    }

    /// Clips that training has seen.
    pub fn clips(&self) -> u64 {
        self.clips
    }

    /// Where the data of this process goes on.
    pub fn positions(&self) -> Positions {
        Positions {
            first: self.clips,
            process: self.group.rank(),
            processes: self.group.size(),
        }
    }

    /// Clips that a step is computed from, those of all processes.
    pub fn clips_per_step(&self) -> usize {
        self.config.clips_per_step() * self.group.size()
    }

    /// Place in the step of the first clip of this process.
    pub fn first_clip(&self) -> usize {
        self.config.clips_per_step() * self.group.rank()
    }

    /// Whether this process measures and samples.
    pub fn is_leader(&self) -> bool {
        self.group.is_leader()
    }

    /// What of the `held_out` clips this process reads: all of them if it measures, else none.
    pub fn measured<'a>(&self, held_out: &'a [usize]) -> &'a [usize] {
        match self.is_leader() {
            true => held_out,
            false => &[],
        }
    }

    /// Notes a step with its losses, the one that is optimised first, and a line of metrics every
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
        )
    }

    /// Begins the next step: what was done since the last one does not count as time of training.
    pub fn restart_clock(&mut self) {
        if let Some(log) = &mut self.log {
            log.restart_clock();
        }
    }

    /// Ends the run where the optimizer that section `optimizer` configures has skipped more than
    /// `most` steps in a row.
    ///
    /// # Errors
    /// If it has, once the curves are drawn; the message names the last good checkpoint.
    pub fn check_skipped(&self, optimizer: &str, skipped: usize, most: usize) -> Result<()> {
        if skipped <= most {
            return Ok(());
        }
        let kept = match self.checkpoints.newest()? {
            Some(folder) => format!("the last good checkpoint is {}", folder.display()),
            None => "there is no checkpoint yet".into(),
        };
        let message = format!(
            "step {}: the loss or the gradient was not finite for {skipped} steps in a row \
             ({optimizer}.max_skipped = {most}); {kept}. A lower {optimizer}.learning_rate, a \
             longer warm-up or a lower {optimizer}.clip_norm may help",
            self.position.step,
        );
        self.draw_curves().with_context(|| message.clone())?;
        bail!(message)
    }

    /// Adds a measurement to the log.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn measure(&mut self, name: &str, value: f64) -> Result<()> {
        match &mut self.log {
            Some(log) => log.measure(self.position.step, name, value),
            None => Ok(()),
        }
    }

    /// Whether the leader is due to measure on held-out data: regularly and at the end.
    pub fn eval_is_due(&self) -> bool {
        self.is_leader() && (self.is_last() || self.is_multiple_of(self.config.eval_every))
    }

    /// Whether the leader is due to sample: regularly, and at the end if at all.
    pub fn samples_are_due(&self) -> bool {
        let every = self.config.sample_every;
        self.is_leader() && every > 0 && (self.is_last() || self.is_multiple_of(every))
    }

    /// Whether the leader is due to write a checkpoint: regularly, at the end and when interrupted.
    /// While steps are skipped there is none, so that those from before are kept; `is_skipping` is
    /// whether an optimizer skips that [`Self::step`] is not told about.
    pub fn checkpoint_is_due(&self, is_skipping: bool) -> bool {
        let regular = self.is_multiple_of(self.config.checkpoint_every)
            && self.position.skipped_in_a_row == 0
            && !is_skipping;
        self.is_leader() && (self.interrupted || self.is_last() || regular)
    }

    /// Whether the leader is due to write a checkpoint of a step that had none, since the run was
    /// asked to stop while it measured or sampled. All processes ask when that is done.
    pub fn late_checkpoint_is_due(&mut self, is_skipping: bool) -> bool {
        let is_written = self.checkpoint_is_due(is_skipping);
        self.interrupted = self.group.any(self.interrupter.should_stop());
        self.checkpoint_is_due(is_skipping) && !is_written
    }

    fn is_last(&self) -> bool {
        self.position.step == self.config.steps
    }

    fn is_multiple_of(&self, every: usize) -> bool {
        every > 0 && self.position.step.is_multiple_of(every)
    }

    /// Whether the run had been asked to stop when the last step was done, in any process.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Writes a checkpoint, complete or not at all, and removes the old ones.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn checkpoint(&self, training: &dyn Checkpointed) -> Result<()> {
        let state = CheckpointState {
            position: training.position(),
            clips: Some(self.clips),
            seed: Some(self.config.seed),
        };
        self.checkpoints.save(training, &state, &self.resolved)?;
        self.checkpoints
            .prune(self.config.keep_checkpoints, self.config.keep_every)
    }

    /// Shows a line without disturbing the progress bar.
    pub fn line(&self, text: impl AsRef<str>) {
        if let Some(log) = &self.log {
            log.line(text);
        }
    }

    /// Draws the curves and says how the run ended.
    ///
    /// # Errors
    /// If the curves cannot be written.
    pub fn finish(self) -> Result<Ending> {
        self.draw_curves()?;
        Ok(match self.position.step >= self.config.steps {
            true => Ending::Finished,
            false => Ending::Interrupted,
        })
    }

    fn draw_curves(&self) -> Result<()> {
        match &self.log {
            Some(log) => log.draw_curves(),
            None => Ok(()),
        }
    }
}

/// The newest checkpoint in the folder of `stage`, and what changed since; the folder gets its
/// resolved configuration.
fn open_folder<C: StageConfig>(
    stage: &C,
    resume: bool,
    checkpoints: &Checkpoints,
    resolved: &str,
) -> Result<(Option<PathBuf>, Vec<Change>)> {
    let out = &stage.run().out;
    let cannot_use = || format!("run.out = {}", out.display());
    let newest = checkpoints.newest().with_context(cannot_use)?;
    if newest.is_some() && !resume {
        bail!(
            "{} holds a run already: go on with --resume, or choose another folder with \
             `--set run.out=FOLDER`",
            out.display()
        );
    }
    let changed = match &newest {
        Some(checkpoint) => {
            // Not the run's own: a start that reached no checkpoint has overwritten that.
            let path = checkpoint.join("config.toml");
            let before = fs::read_to_string(&path)
                .with_context(|| format!("cannot resume: {}", path.display()))?;
            changes(&before, stage)
                .with_context(|| format!("cannot resume the run in {}", out.display()))?
        }
        None => Vec::new(),
    };
    fs::create_dir_all(out).with_context(cannot_use)?;
    let path = out.join("config.toml");
    write_atomically(&path, resolved.as_bytes()).with_context(|| path.display().to_string())?;
    Ok((newest, changed))
}

/// The checkpoint `newest` of the leader, in all processes.
fn agree(
    group: &dyn Group,
    newest: Option<PathBuf>,
    checkpoints: &Checkpoints,
    resolved: &str,
) -> Result<Option<PathBuf>> {
    let own = crc32c(resolved.as_bytes()).into();
    ensure!(
        group.of_leader(own) == own,
        "the configuration of this process differs from that of the first: all of them need the \
         same file and the same options"
    );
    let step = match &newest {
        Some(folder) => CheckpointState::read(folder)?.position.step,
        None => 0,
    };
    let step = group.of_leader(step as u64) as usize;
    if group.is_leader() || step == 0 {
        return Ok(newest);
    }
    let found = checkpoints.list()?.into_iter().find(|&(s, _)| s == step);
    let (_, folder) = found.with_context(|| {
        format!(
            "the first process goes on from the checkpoint of step {step}, which this one does not \
             find: all of them need the folder of the run"
        )
    })?;
    Ok(Some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{OptimizerConfig, VaeRun};
    use crate::group::{Alone, testing::together};
    use crate::trainer::Trainer;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    fn config(out: &std::path::Path) -> VaeRun {
        VaeRun {
            run: RunConfig {
                out: out.to_owned(),
                steps: 20,
                log_every: 1,
                checkpoint_every: 1,
                ..RunConfig::default()
            },
            optimizer: OptimizerConfig {
                max_skipped: 3,
                ..OptimizerConfig::default()
            },
            ..VaeRun::default()
        }
    }

    fn open(config: &VaeRun, resume: bool) -> Result<Run> {
        Run::open(config, resume, Rc::new(Alone), Interrupter::new())
    }

    fn step(run: &mut Run, trainer: &mut Trainer<Linear>, factor: f32) -> Result<()> {
        let input = Tensor::<2>::ones([1, 2], &Device::flex().autodiff());
        let loss = trainer.model().forward(input).square().sum() * factor;
        let loss = trainer.accumulate(loss, 1.0);
        let report = trainer.update();
        run.step(&[("loss", loss)], report)?;
        if run.checkpoint_is_due(false) {
            run.checkpoint(trainer)?;
        }
        Ok(())
    }

    fn trainer(config: &VaeRun) -> Trainer<Linear> {
        let model = LinearConfig::new(2, 1).init(&Device::flex().autodiff());
        Trainer::new(model, &config.optimizer, config.run.steps)
    }

    #[test]
    fn a_run_that_stays_broken_ends_with_its_last_good_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let mut run = open(&config, false).expect("a run");
        let mut trainer = trainer(&config);
        let broken = f32::NAN;
        for factor in [1.0, broken, broken, broken, 1.0, broken, broken, broken] {
            step(&mut run, &mut trainer, factor).expect("no more than allowed in a row");
        }
        let error = step(&mut run, &mut trainer, broken).expect_err("one too many");
        let error = error.to_string();
        assert!(error.contains("4 steps in a row"), "{error}");
        assert!(error.contains("step-00000005"), "{error}");
        assert!(folder.path().join("curves.svg").is_file());
        let metrics = fs::read_to_string(folder.path().join("metrics.jsonl")).expect("metrics");
        let last = metrics.lines().last().expect("a line");
        assert!(last.contains("\"skipped_steps\":7.0"), "{last}");
    }

    #[test]
    fn no_optimizer_skips_while_a_checkpoint_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let mut run = open(&config, false).expect("a run");
        step(&mut run, &mut trainer(&config), 1.0).expect("a step");
        assert_eq!(
            [false, true].map(|other| run.checkpoint_is_due(other)),
            [true, false]
        );
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
    fn changes_are_those_since_the_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        let mut run = open(&config, false).expect("a run");
        step(&mut run, &mut trainer(&config), 1.0).expect("a step");
        config.optimizer.learning_rate = 0.5;
        // The first of these starts ends before it has a checkpoint of its own.
        for _ in 0..2 {
            let resolved = toml::to_string(&config).expect("TOML");
            let checkpoints = Checkpoints::new(folder.path());
            let (_, changed) = open_folder(&config, true, &checkpoints, &resolved).expect("open");
            let changed: Vec<_> = changed.iter().map(Change::to_string).collect();
            assert_eq!(changed, ["optimizer.learning_rate was 0.0002 and is 0.5"]);
        }
    }

    #[test]
    fn one_process_writes_and_any_of_them_stops_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let outcomes = together(3, |group| {
            let interrupter = Interrupter::new();
            let mut run = Run::open(&config, false, group.clone(), interrupter.clone());
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
            let run = Run::open(&config, true, group, Interrupter::new()).expect("the run");
            (run.position.step, run.clips())
        });
        assert_eq!(steps, [(2, 48), (2, 48)]);
    }

    #[test]
    fn an_interrupt_while_the_leader_measures_ends_the_run_after_that() {
        for (checkpoint_every, is_late) in [(0, true), (1, false)] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut config = config(folder.path());
            config.run.checkpoint_every = checkpoint_every;
            let outcomes = together(2, |group| {
                let interrupter = Interrupter::new();
                let run = Run::open(&config, false, group.clone(), interrupter.clone());
                let mut run = run.expect("a run");
                step(&mut run, &mut trainer(&config), 1.0).expect("a step");
                let undisturbed = run.late_checkpoint_is_due(false);
                if group.is_leader() {
                    interrupter.stop(None);
                }
                let is_due = run.late_checkpoint_is_due(false);
                (undisturbed, is_due, run.is_interrupted())
            });
            // Not where the step has one already.
            assert_eq!(outcomes, [(false, is_late, true), (false, false, true)]);
        }
    }

    #[test]
    fn processes_need_the_same_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let outcomes = together(2, |group| {
            let mut config = config(folder.path());
            config.run.accumulate += group.rank();
            // The leader waits for what the other one would have gone on to tell.
            let is_leader = group.is_leader();
            let error = Run::open(&config, false, group.clone(), Interrupter::new()).err();
            if !is_leader {
                group.of_leader(0);
            }
            error.map(|error| error.to_string())
        });
        assert!(outcomes[0].is_none());
        let error = outcomes[1].as_deref().expect("an error");
        assert!(
            error.starts_with("the configuration of this process differs"),
            "{error}"
        );
    }
}
