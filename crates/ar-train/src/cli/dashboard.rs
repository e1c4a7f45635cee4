use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::{Result, ensure};
use ar_train::log::{Observer, Scalars};
use burn_train::Interrupter;
use burn_train::logger::TrainingProgressLogger;
use burn_train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer, MetricsRendererTraining};

use super::console::Console;

/// Shows a stage on burn-train's dashboard: curves of all measurements, and progress.
pub(super) struct Dashboard {
    interrupter: Interrupter,
    /// Shows everything before the first step.
    console: Console,
    renderer: RefCell<Option<TuiMetricsRendererWrapper>>,
    /// Measurements that are already on the dashboard.
    known: RefCell<Vec<String>>,
    /// Messages that arrived while the dashboard filled the terminal.
    messages: RefCell<Vec<String>>,
    first_step: Cell<usize>,
}

impl Dashboard {
    /// A dashboard that opens when training starts, and stops it through `interrupter`.
    ///
    /// # Errors
    /// If the standard output is not a terminal.
    pub(super) fn new(interrupter: Interrupter) -> Result<Self> {
        ensure!(
            stdout().is_terminal(),
            "--dashboard needs a terminal for its standard output, and there is none: leave it out"
        );
        Ok(Self {
            interrupter,
            console: Console::default(),
            renderer: RefCell::default(),
            known: RefCell::default(),
            messages: RefCell::default(),
            first_step: Cell::default(),
        })
    }

    /// Calls the renderer, if it is open. It restores the terminal and panics if the user chooses
    /// to end the program at once.
    fn with(&self, call: impl FnOnce(&mut TuiMetricsRendererWrapper)) {
        if let Some(renderer) = &mut *self.renderer.borrow_mut()
            && catch_unwind(AssertUnwindSafe(|| call(renderer))).is_err()
        {
            ar_cli::end_interrupted();
        }
    }

    /// The state of the measurement called `name`, which is added to the dashboard if it is new.
    fn state(&self, name: &str, value: f64) -> MetricState {
        let id = MetricId::new(Arc::new(name.to_owned()));
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|other| other == name) {
            known.push(name.to_owned());
            self.with(|renderer| {
                renderer.register_metric(MetricDefinition {
                    metric_id: id.clone(),
                    name: Arc::new(name.to_owned()),
                    description: None,
                    attributes: NumericAttributes {
                        unit: None,
                        higher_is_better: false,
                    }
                    .into(),
                });
            });
        }
        let entry = SerializedEntry::new(format!("{value:.5}"), value.to_string());
        let point = value.is_finite().then_some(NumericEntry::Value(value));
        MetricState::Numeric(MetricEntry::new(id, entry), point)
    }
}

impl Observer for Dashboard {
    fn started(&self, step: usize, steps: usize) {
        self.first_step.set(step);
        let renderer = TuiMetricsRendererWrapper::new(self.interrupter.clone(), None);
        self.renderer.replace(Some(renderer));
        let left = steps.saturating_sub(step);
        self.with(|renderer| {
            // One epoch: steps are counted, not passes over the data.
            renderer.start(1, 1, Some(left), None);
            renderer.start_split("train", left);
        });
    }

    fn step(&self, step: usize) {
        ar_cli::work_begins();
        let done = step.saturating_sub(self.first_step.get());
        self.with(|renderer| renderer.update_split(done));
    }

    fn metrics(&self, scalars: &Scalars) {
        for (name, value) in scalars.iter() {
            let state = self.state(name, value);
            self.with(|renderer| renderer.update_train(state));
        }
    }

    fn measurement(&self, step: usize, name: &str, value: f64) {
        // In one chart with the training loss.
        let state = self.state(name.trim_start_matches("validation_"), value);
        self.with(|renderer| renderer.update_valid(state));
        self.message(&format!("step {step}: {name} {value:.4}"));
    }

    fn message(&self, text: &str) {
        if self.renderer.borrow().is_some() {
            self.messages.borrow_mut().push(text.to_owned());
        } else {
            self.console.message(text);
        }
    }

    fn reading(&self, done: usize, all: usize) {
        self.console.reading(done, all);
    }

    fn encoding(&self, done: usize, all: usize) {
        self.console.encoding(done, all);
    }
}

/// Restores the terminal, and prints the messages that there was no room for.
impl Drop for Dashboard {
    fn drop(&mut self) {
        drop(self.renderer.take());
        for message in self.messages.take() {
            self.console.message(&message);
        }
    }
}
