//! The folder of a run: configuration, checkpoints, metrics; progress and interruption.
//!
//! ```text
//! RUN/config.toml                     the resolved configuration
//! RUN/metrics.jsonl                   one line every `log_every` steps
//! RUN/checkpoints/step-00000500/      everything that resuming needs
//! RUN/model/                          the model directory, from the averaged weights
//! ```

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ar_files::{temporary_folder_beside, write_atomically};
use burn::module::Module;
use burn::store::ModuleRecord;
use burn_train::Interrupter;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::trainer::{StepReport, Trainer};

/// A run in progress.
pub struct Run {
    config: RunConfig,
    interrupter: Interrupter,
    metrics: fs::File,
    progress: Progress,
    since_log: Window,
}

/// Losses and time since the last line of metrics.
struct Window {
    start: Instant,
    steps: usize,
    loss: f64,
}

impl Window {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            steps: 0,
            loss: 0.0,
        }
    }
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Serialize)]
struct StepMetrics {
    step: usize,
    loss: f64,
    learning_rate: f64,
    gradient_norm: f64,
    clips_per_second: f64,
}

/// What a checkpoint says about itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointState {
    step: usize,
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
    /// Opens the folder of a run and writes its resolved configuration.
    ///
    /// # Errors
    /// If the folder cannot be written, or holds a run and `resume` is false.
    pub fn open<C: Serialize>(
        config: &RunConfig,
        resolved: &C,
        resume: bool,
        interrupter: Interrupter,
    ) -> Result<Self> {
        for (key, value) in [
            ("steps", config.steps),
            ("batch_size", config.batch_size),
            ("log_every", config.log_every),
            ("keep_checkpoints", config.keep_checkpoints),
        ] {
            ensure!(value > 0, "run.{key} is 0; it must be at least 1");
        }
        let out = &config.out;
        if !resume && newest_checkpoint(out)?.is_some() {
            bail!(
                "{} holds a run already: go on with --resume, or choose another folder with \
                 `--set run.out=FOLDER`",
                out.display()
            );
        }
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        let path = out.join("config.toml");
        write_atomically(&path, toml::to_string(resolved)?.as_bytes())
            .with_context(|| path.display().to_string())?;
        let path = out.join("metrics.jsonl");
        let metrics = fs::OpenOptions::new()
            .create(true)
            .append(resume)
            .write(true)
            .truncate(!resume)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            progress: Progress::new(config.steps),
            config: config.clone(),
            interrupter,
            metrics,
            since_log: Window::new(),
        })
    }

    /// The model directory that the run writes.
    pub fn model_dir(&self) -> PathBuf {
        self.config.out.join("model")
    }

    /// Puts `trainer` where the newest checkpoint of the run stands, if there is one.
    ///
    /// # Errors
    /// If the checkpoint does not fit the configured network.
    pub fn resume<M: Module>(&mut self, trainer: &mut Trainer<M>) -> Result<()> {
        if let Some(folder) = newest_checkpoint(&self.config.out)? {
            load_checkpoint(&folder, trainer)
                .with_context(|| format!("cannot resume from {}", folder.display()))?;
            self.progress
                .line(format!("resuming from {}", folder.display()));
        }
        Ok(())
    }

    /// Notes a step: progress, and a line of metrics every `log_every` steps.
    ///
    /// # Errors
    /// If the loss or the gradient is not finite, or the metrics cannot be written.
    pub fn log(&mut self, step: usize, loss: f64, report: StepReport) -> Result<()> {
        ensure!(
            loss.is_finite() && report.gradient_norm.is_finite(),
            "step {step}: the loss is {loss} and the gradient norm {}; a lower \
             optimizer.learning_rate or a longer warm-up may help",
            report.gradient_norm
        );
        let window = &mut self.since_log;
        window.steps += 1;
        window.loss += loss;
        if step.is_multiple_of(self.config.log_every) || step == self.config.steps {
            let seconds = window.start.elapsed().as_secs_f64();
            let metrics = StepMetrics {
                step,
                loss: window.loss / window.steps as f64,
                learning_rate: report.learning_rate,
                gradient_norm: report.gradient_norm,
                clips_per_second: (window.steps * self.config.batch_size) as f64 / seconds,
            };
            self.write_metrics(&metrics)?;
            self.progress.step(&metrics);
            self.since_log = Window::new();
        }
        self.progress.advance(step);
        Ok(())
    }

    /// Adds a measurement to `metrics.jsonl` and shows it.
    ///
    /// # Errors
    /// If the metrics cannot be written.
    pub fn measure(&mut self, step: usize, name: &str, value: f64) -> Result<()> {
        self.write_metrics(&serde_json::json!({ "step": step, name: value }))?;
        self.progress
            .line(format!("step {step}: {name} {value:.4}"));
        Ok(())
    }

    /// Whether a measurement on held-out data is due after `step`.
    pub fn eval_is_due(&self, step: usize) -> bool {
        let every = self.config.eval_every;
        step == self.config.steps || (every > 0 && step.is_multiple_of(every))
    }

    /// Whether a checkpoint is due after `step`: regularly, at the end and when interrupted.
    pub fn checkpoint_is_due(&self, step: usize) -> bool {
        let every = self.config.checkpoint_every;
        self.is_interrupted()
            || step == self.config.steps
            || (every > 0 && step.is_multiple_of(every))
    }

    /// Whether the run was asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.interrupter.should_stop()
    }

    /// Writes a checkpoint, complete or not at all, and removes the oldest.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn checkpoint<M: Module>(&self, trainer: &Trainer<M>) -> Result<()> {
        let root = self.config.out.join("checkpoints");
        save_checkpoint(&root, trainer).with_context(|| root.display().to_string())?;
        let mut folders = checkpoints(&root)?;
        folders.truncate(folders.len().saturating_sub(self.config.keep_checkpoints));
        for folder in folders {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }

    /// Shows a line without disturbing the progress bar.
    pub fn line(&self, text: impl AsRef<str>) {
        self.progress.line(text);
    }

    fn write_metrics(&mut self, metrics: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(metrics)?;
        writeln!(self.metrics, "{line}").context("metrics.jsonl")
    }
}

/// Complete checkpoints, oldest first.
fn checkpoints(root: &Path) -> Result<Vec<PathBuf>> {
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| root.display().to_string())?;
    // Unfinished ones have another name until they are complete.
    folders.retain(|folder| {
        folder
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("step-"))
    });
    folders.sort();
    Ok(folders)
}

fn newest_checkpoint(out: &Path) -> Result<Option<PathBuf>> {
    Ok(checkpoints(&out.join("checkpoints"))?.pop())
}

fn save_checkpoint<M: Module>(root: &Path, trainer: &Trainer<M>) -> Result<()> {
    let complete = root.join(format!("step-{:08}", trainer.step));
    let unfinished = temporary_folder_beside(&complete)?;
    let path = unfinished.path();
    trainer
        .model
        .clone()
        .into_record()
        .save(path.join("weights.bpk"))?;
    trainer
        .ema
        .clone()
        .into_record()
        .save(path.join("average.bpk"))?;
    trainer.optimizer.save(path.join("optimizer.bpk"))?;
    let state = CheckpointState { step: trainer.step };
    fs::write(path.join("state.toml"), toml::to_string(&state)?)?;
    for entry in fs::read_dir(path)? {
        fs::File::open(entry?.path())?.sync_all()?;
    }
    if complete.exists() {
        fs::remove_dir_all(&complete)?;
    }
    fs::rename(unfinished.keep(), complete)?;
    Ok(())
}

fn load_checkpoint<M: Module>(folder: &Path, trainer: &mut Trainer<M>) -> Result<()> {
    let state: CheckpointState = toml::from_str(&fs::read_to_string(folder.join("state.toml"))?)?;
    let load = |module: &M, file: &str| {
        let record = ModuleRecord::load(folder.join(file))?;
        module.clone().try_load_record(record)
    };
    trainer.model = load(&trainer.model, "weights.bpk")?;
    trainer.ema = load(&trainer.ema, "average.bpk")?;
    trainer.optimizer = trainer
        .optimizer
        .clone()
        .load(folder.join("optimizer.bpk"))?;
    trainer.step = state.step;
    Ok(())
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    steps: usize,
    start: Instant,
    first_step: Option<usize>,
}

impl Progress {
    fn new(steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{bar:30} {pos}/{len} {msg}  {elapsed} elapsed, {eta} left",
            )
            .expect("a valid template");
            ProgressBar::new(steps as u64).with_style(style)
        });
        Self {
            bar,
            steps,
            start: Instant::now(),
            first_step: None,
        }
    }

    fn advance(&mut self, step: usize) {
        if self.first_step.is_none() {
            self.first_step = Some(step);
            self.start = Instant::now();
            if let Some(bar) = &self.bar {
                // A resumed run does not count earlier steps into its speed.
                bar.set_position(step as u64);
                bar.reset_eta();
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
            if step == self.steps {
                bar.finish();
            }
        }
    }

    fn step(&self, metrics: &StepMetrics) {
        let text = format!(
            "loss {:.4}  lr {:.1e}  norm {:.2}  {:.1} clips/s",
            metrics.loss, metrics.learning_rate, metrics.gradient_norm, metrics.clips_per_second
        );
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => {
                let done = metrics.step - self.first_step.unwrap_or(metrics.step);
                let seconds = self.start.elapsed().as_secs_f64();
                let left = (self.steps - metrics.step) as f64 * seconds / done.max(1) as f64;
                eprintln!(
                    "step {}/{}  {text}  {left:.0} s left",
                    metrics.step, self.steps
                );
            }
        }
    }

    fn line(&self, text: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{}", text.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    fn trainer() -> Trainer<Linear> {
        let device = Device::flex().autodiff();
        device.seed(7);
        let config = OptimizerConfig {
            learning_rate: 0.05,
            ..OptimizerConfig::default()
        };
        Trainer::new(LinearConfig::new(3, 2).init(&device), &config, 20)
    }

    fn step(trainer: &mut Trainer<Linear>) {
        let input = Tensor::<2>::from_floats(
            [[trainer.step as f32, 1.0, -0.5]],
            &Device::flex().autodiff(),
        );
        let loss = trainer.model.forward(input).square().mean();
        trainer.update(loss);
    }

    fn weights(trainer: &Trainer<Linear>) -> [Vec<f32>; 2] {
        [&trainer.model, &trainer.ema]
            .map(|model| model.weight.val().into_data().iter::<f32>().collect())
    }

    #[test]
    fn a_resumed_run_is_bit_identical() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut whole = trainer();
        for _ in 0..4 {
            step(&mut whole);
        }
        save_checkpoint(folder.path(), &whole).expect("a checkpoint");
        for _ in 0..6 {
            step(&mut whole);
        }

        let mut resumed = trainer();
        let newest = checkpoints(folder.path()).expect("a list").pop();
        load_checkpoint(&newest.expect("one checkpoint"), &mut resumed).expect("a fitting one");
        assert_eq!(resumed.step, 4);
        for _ in 0..6 {
            step(&mut resumed);
        }
        assert_eq!(weights(&whole), weights(&resumed));
    }

    #[test]
    fn unfinished_checkpoints_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let unfinished = temporary_folder_beside(&folder.path().join("step-00000001"))
            .expect("a folder")
            .keep();
        assert!(unfinished.is_dir());
        assert!(checkpoints(folder.path()).expect("a list").is_empty());
    }
}
