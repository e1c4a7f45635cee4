//! How far sampling is, on the standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// Time between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Progress over iterations: a bar on a terminal, now and then a line elsewhere.
pub struct Progress {
    display: Display,
    iterations: usize,
    frames: usize,
}

enum Display {
    Bar(ProgressBar),
    Lines { next: Instant },
    Quiet,
}

impl Progress {
    /// Progress over `iterations` that finish `frames`.
    pub fn new(iterations: usize, frames: usize, quiet: bool) -> Self {
        let display = if quiet {
            Display::Quiet
        } else if stderr().is_terminal() {
            let style = "{bar:40} iteration {pos} of {len}, {msg}, {eta} left";
            let bar = ProgressBar::new(iterations as u64)
                .with_style(ProgressStyle::with_template(style).expect("a template"))
                .with_message(frames_finished(0, frames))
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
            iterations,
            frames,
        }
    }

    /// Shows that so many iterations are done and frames finished.
    pub fn update(&mut self, iterations: usize, frames: usize) {
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_message(frames_finished(frames, self.frames));
                bar.set_position(iterations as u64);
            }
            Display::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    let finished = frames_finished(frames, self.frames);
                    eprintln!("iteration {iterations} of {}, {finished}", self.iterations);
                    *next = now + INTERVAL;
                }
            }
            Display::Quiet => {}
        }
    }
}

fn frames_finished(finished: usize, frames: usize) -> String {
    format!("{finished} of {frames} frames")
}
