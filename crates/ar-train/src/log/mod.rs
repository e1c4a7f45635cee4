//! The log of a run, with several sinks.
//!
//! - `metrics.jsonl`, from which the others can be made: a line every `log_every` steps;
//! - event files for TensorBoard, in the same folder: `tensorboard --logdir RUN`;
//! - an [`Observer`], which can show it;
//! - `curves.svg`, drawn from `metrics.jsonl` when the run ends.

mod curves;
mod metrics;
mod observer;
mod scalars;
mod tensorboard;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::trainer::StepReport;
use metrics::MetricsFile;
pub use observer::{Observer, Silent};
pub use scalars::Scalars;
use tensorboard::EventWriter;

/// The log of a run.
pub struct Log {
    folder: PathBuf,
    metrics: MetricsFile,
    events: EventWriter,
    observer: Rc<dyn Observer>,
    clips_per_step: usize,
    window: Window,
}

/// Losses and time since the last line of metrics.
struct Window {
    /// When the current step started.
    start: Instant,
    /// The time of the previous steps.
    time: Duration,
    steps: usize,
    /// Named losses, with their sums and the numbers of steps that have them and were not skipped.
    losses: Vec<(&'static str, f64, u32)>,
    /// The norm of the last gradient. If a discriminator takes turns, not every step has one.
    gradient_norm: Option<f64>,
}

impl Window {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            time: Duration::ZERO,
            steps: 0,
            losses: Vec::new(),
            gradient_norm: None,
        }
    }

    fn add(&mut self, losses: &[(&'static str, f64)], norm: f64, skipped: bool) {
        self.time += self.start.elapsed();
        self.start = Instant::now();
        self.steps += 1;
        if skipped {
            return;
        }
        if norm.is_finite() {
            self.gradient_norm = Some(norm);
        }
        for &(name, value) in losses {
            match self.losses.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, sum, count)) => {
                    *sum += value;
                    *count += 1;
                }
                None => self.losses.push((name, value, 1)),
            }
        }
    }

    fn means(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.losses
            .iter()
            .map(|&(name, sum, count)| (name, sum / f64::from(count)))
    }
}

impl Log {
    /// Opens the log of a run that is at `step` and has `clips_per_step` clips per step. Entries of an earlier process
    /// after `step` are dropped, since those steps will be done again.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn open(
        config: &RunConfig,
        clips_per_step: usize,
        step: usize,
        observer: Rc<dyn Observer>,
    ) -> Result<Self> {
        let folder = &config.out;
        observer.started(step, config.steps);
        Ok(Self {
            metrics: MetricsFile::open(&folder.join("metrics.jsonl"), step)?,
            events: EventWriter::create(folder, step)?,
            observer,
            folder: folder.clone(),
            clips_per_step,
            window: Window::new(),
        })
    }

    /// Records a step with its losses; the first one is minimised.
    pub fn step(&mut self, losses: &[(&'static str, f64)], report: &StepReport) {
        let position = report.position;
        self.window
            .add(losses, report.gradient_norm, report.skipped);
        self.observer.step(position.step);
        if report.skipped {
            self.line(format!(
                "step {}: skipped, because the loss is {} and the gradient norm {}",
                position.step, losses[0].1, report.gradient_norm
            ));
        }
    }

    /// Excludes the time since the last step from `clips_per_second`.
    pub fn restart_clock(&mut self) {
        self.window.start = Instant::now();
    }

    /// Writes the means since the last call to all sinks.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn flush(&mut self, report: &StepReport) -> Result<()> {
        let seconds = self.window.time.as_secs_f64();
        let clips = (self.window.steps * self.clips_per_step) as f64;
        let mut values: Vec<(String, f64)> = self
            .window
            .means()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        values.push(("learning_rate".into(), report.learning_rate));
        if let Some(norm) = self.window.gradient_norm {
            values.push(("gradient_norm".into(), norm));
        }
        values.push(("clips_per_second".into(), clips / seconds));
        if report.position.skipped > 0 {
            values.push(("skipped_steps".into(), report.position.skipped as f64));
        }
        let scalars = Scalars {
            step: report.position.step,
            values,
        };
        self.write(&scalars)?;
        self.observer.metrics(&scalars);
        self.window = Window::new();
        Ok(())
    }

    /// Records a measurement; its parts are only written to the files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn measure(
        &mut self,
        step: usize,
        name: &str,
        value: f64,
        parts: Vec<(String, f64)>,
    ) -> Result<()> {
        let mut values = vec![(name.to_owned(), value)];
        values.extend(parts);
        self.write(&Scalars { step, values })?;
        self.observer.measurement(step, name, value);
        Ok(())
    }

    /// Whether the log has the measurement called `name` after `step`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn has(&self, step: usize, name: &str) -> Result<bool> {
        let lines = metrics::read(self.metrics.path(), step);
        let lines = lines.map_err(Error::io(self.metrics.path()))?;
        let is_it = |value: &Value| value["step"] == step && !value[name].is_null();
        Ok(lines.iter().any(|(_, value)| is_it(value)))
    }

    /// Shows a line without disturbing the bar.
    pub fn line(&self, text: impl AsRef<str>) {
        self.observer.message(text.as_ref());
    }

    /// Draws the curves of the run.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn draw_curves(&self) -> Result<()> {
        curves::draw(self.metrics.path(), &self.folder.join("curves.svg"))
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn write(&mut self, scalars: &Scalars) -> Result<()> {
        self.metrics.write(scalars)?;
        self.events.write(scalars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_the_steps_that_have_a_loss_and_were_not_skipped() {
        let mut window = Window::new();
        window.add(&[("loss", 1.0)], 0.5, false);
        window.add(&[("loss", f64::NAN)], f64::INFINITY, true);
        window.add(&[("loss", 3.0), ("kl", 5.0)], 0.25, false);
        // A step in which another network trains.
        window.add(&[], f64::NAN, false);
        let means: Vec<_> = window.means().collect();
        assert_eq!(means, [("loss", 2.0), ("kl", 5.0)]);
        assert_eq!(window.gradient_norm, Some(0.25));
        assert_eq!(window.steps, 4);
    }

    #[test]
    fn scalars_are_one_flat_object() {
        let scalars = Scalars {
            step: 7,
            values: vec![("loss".into(), 0.5), ("rate".into(), 1e-3)],
        };
        let text = serde_json::to_string(&scalars).expect("JSON");
        assert_eq!(text, r#"{"step":7,"loss":0.5,"rate":0.001}"#);
    }
}
