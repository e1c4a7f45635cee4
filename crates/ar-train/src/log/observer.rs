use super::scalars::Scalars;

/// Observes a stage, for example to show its progress. By default, nothing is shown.
pub trait Observer {
    /// The run starts at `step` and continues to `steps`.
    fn started(&self, step: usize, steps: usize) {
        let _ = (step, steps);
    }

    /// Step number `step`, counted from 1, is done.
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

    /// A line of text: how the run starts, what was measured or skipped.
    fn message(&self, text: &str) {
        let _ = text;
    }

    /// `done` of `all` video files have been read while a dataset is opened.
    fn reading(&self, done: usize, all: usize) {
        let _ = (done, all);
    }

    /// `done` of `all` clips have been encoded.
    fn encoding(&self, done: usize, all: usize) {
        let _ = (done, all);
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
