//! How far a run is, on the standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use ar_cli::tell;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// Time between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Progress over steps of one kind: a bar on a terminal, now and then a line elsewhere.
pub(crate) struct Progress {
    display: Display,
    step: &'static str,
    steps: usize,
}

enum Display {
    Bar(ProgressBar),
    Lines { next: Instant },
    Quiet,
}

impl Progress {
    /// Progress over `steps`, each a `step`, with a word on what is done.
    pub(crate) fn new(step: &'static str, steps: usize, message: String, quiet: bool) -> Self {
        let display = if quiet {
            Display::Quiet
        } else if stderr().is_terminal() {
            let style = format!("{{bar:40}} {step} {{pos}} of {{len}}, {{msg}}, {{eta}} left");
            let bar = ProgressBar::new(steps as u64)
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

    /// Shows that so many steps are done.
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
                    tell(format_args!("{step} {done} of {steps}, {message}"));
                    *next = now + INTERVAL;
                }
            }
            Display::Quiet => {}
        }
    }
}
