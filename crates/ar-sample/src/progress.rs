//! The progress of a run, on the standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use ar_cli::tell;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// Time between two lines if there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Progress over steps of one kind: a bar on a terminal, occasional lines elsewhere.
pub(crate) struct Progress {
    display: Display,
    step: &'static str,
    /// The number of steps, if known.
    steps: Option<usize>,
}

enum Display {
    Bar(ProgressBar),
    Lines { next: Instant },
    Quiet,
}

impl Progress {
    /// Progress over `steps` steps, each called a `step`, with a message about what is being done.
    pub(crate) fn new(step: &'static str, steps: usize, message: String, quiet: bool) -> Self {
        Self::start(step, Some(steps), message, quiet)
    }

    /// Progress over an unknown number of steps.
    pub(crate) fn without_end(step: &'static str, message: String, quiet: bool) -> Self {
        Self::start(step, None, message, quiet)
    }

    fn start(step: &'static str, steps: Option<usize>, message: String, quiet: bool) -> Self {
        let display = if quiet {
            Display::Quiet
        } else if stderr().is_terminal() {
            let (bar, style) = match steps {
                Some(steps) => (
                    ProgressBar::new(steps as u64),
                    format!("{{bar:40}} {step} {{pos}} of {{len}}, {{msg}}, {{eta}} left"),
                ),
                None => (
                    ProgressBar::no_length(),
                    format!("{{spinner}} {step} {{pos}}, {{msg}}"),
                ),
            };
            let bar = bar
                .with_style(ProgressStyle::with_template(&style).expect("a template"))
                .with_message(message)
                .with_finish(ProgressFinish::AndClear);
            bar.tick();
            Display::Bar(bar)
        } else {
            Display::Lines {
                next: Instant::now() + INTERVAL,
            }
        };
        Self {
            display,
            step,
            steps,
        }
    }

    /// The bar, if there is one.
    pub(crate) fn bar(&self) -> Option<ProgressBar> {
        match &self.display {
            Display::Bar(bar) => Some(bar.clone()),
            Display::Lines { .. } | Display::Quiet => None,
        }
    }

    /// Shows that `done` steps are done.
    pub(crate) fn update(&mut self, done: usize, message: String) {
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_message(message);
                bar.set_position(done as u64);
            }
            Display::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    let Self { step, steps, .. } = self;
                    match steps {
                        Some(steps) => tell(format_args!("{step} {done} of {steps}, {message}")),
                        None => tell(format_args!("{step} {done}, {message}")),
                    }
                    *next = now + INTERVAL;
                }
            }
            Display::Quiet => {}
        }
    }
}
