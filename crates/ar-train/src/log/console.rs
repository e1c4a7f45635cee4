#![allow(
    clippy::print_stderr,
    reason = "hours of training without a sign of life would serve nobody"
)]
use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::Scalars;

/// A bar on a terminal, plain lines elsewhere.
pub(super) struct Console {
    bar: Option<ProgressBar>,
    steps: usize,
    start: Instant,
    /// Where this process started: a resumed run does not count earlier steps into its speed.
    first_step: usize,
}

impl Console {
    pub fn new(first_step: usize, steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{bar:30} {pos}/{len} {msg}  {elapsed} elapsed, {eta} left",
            )
            .expect("a valid template");
            let bar = ProgressBar::new(steps as u64).with_style(style);
            bar.set_position(first_step as u64);
            bar.reset_eta();
            bar
        });
        Self {
            bar,
            steps,
            start: Instant::now(),
            first_step,
        }
    }

    pub fn advance(&self, step: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
            if step == self.steps {
                bar.finish();
            }
        }
    }

    pub fn metrics(&self, scalars: &Scalars) {
        let value = |name| scalars.get(name).unwrap_or(f64::NAN);
        let text = format!(
            "loss {:.4}  lr {:.1e}  norm {:.2}  {:.1} clips/s",
            value("loss"),
            value("learning_rate"),
            value("gradient_norm"),
            value("clips_per_second")
        );
        match &self.bar {
            Some(bar) => bar.set_message(text),
            None => {
                let done = scalars.step.saturating_sub(self.first_step).max(1);
                let left = self.steps.saturating_sub(scalars.step);
                let left = self.start.elapsed().mul_f64(left as f64 / done as f64);
                eprintln!(
                    "step {}/{}  {text}  {} left",
                    scalars.step,
                    self.steps,
                    HumanDuration(left)
                );
            }
        }
    }

    pub fn line(&self, text: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{}", text.as_ref()),
        }
    }
}
