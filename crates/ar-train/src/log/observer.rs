use super::scalars::Scalars;

/// Follows a stage, such as a program that shows its progress. By default, nothing is shown.
pub trait Observer {
    /// The run stands at `step` and goes on to `steps`.
    fn started(&self, step: usize, steps: usize) {
        let _ = (step, steps);
    }

    /// Step number `step` is done, from 1.
    fn step(&self, step: usize) {
        let _ = step;
    }

    /// Means over the steps since the last call.
    fn metrics(&self, scalars: &Scalars) {
        let _ = scalars;
    }

    /// A measurement at `step`, such as `validation_loss`.
    fn measurement(&self, step: usize, name: &str, value: f64) {
        self.message(&format!("step {step}: {name} {value:.4}"));
    }

    /// A line of text: how the run begins, what was measured or skipped.
    fn message(&self, text: &str) {
        let _ = text;
    }

    /// `done` of `all` video files are read while a dataset opens.
    fn reading(&self, done: usize, all: usize) {
        let _ = (done, all);
    }

    /// `done` of `all` clips are encoded.
    fn encoding(&self, done: usize, all: usize) {
        let _ = (done, all);
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
