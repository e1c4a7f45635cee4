use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::Instant;

use ar_cli::{tell, without_controls};
use ar_train::log::{Observer, Scalars};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Shows the progress of a stage: a bar on a terminal, plain lines elsewhere.
#[derive(Default)]
pub(super) struct Console {
    /// The bar of a run.
    bar: RefCell<Option<ProgressBar>>,
    /// The bar for files that are read, or clips that are encoded.
    items: RefCell<Option<ProgressBar>>,
    start: Cell<Option<Instant>>,
    /// The step at which this process started, since the speed of a resumed run does not include
    /// earlier steps.
    first_step: Cell<usize>,
    steps: Cell<usize>,
}

impl Console {
    fn items(&self, done: usize, all: usize) {
        let mut bar = self.items.borrow_mut();
        let items = bar.get_or_insert_with(|| ProgressBar::new(0));
        items.set_length(all as u64);
        items.set_position(done as u64);
        if done == all {
            items.finish_and_clear();
            *bar = None;
        }
    }
}

impl Observer for Console {
    fn started(&self, step: usize, steps: usize) {
        self.start.set(Some(Instant::now()));
        self.first_step.set(step);
        self.steps.set(steps);
        if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(
                "{bar:30} {pos}/{len} {msg}  {elapsed} elapsed, {eta} left",
            )
            .expect("a valid template");
            let bar = ProgressBar::new(steps as u64).with_style(style);
            bar.set_position(step as u64);
            bar.reset_eta();
            self.bar.replace(Some(bar));
        }
    }

    fn step(&self, step: usize) {
        ar_cli::work_begins();
        if let Some(bar) = &*self.bar.borrow() {
            bar.set_position(step as u64);
            if step == self.steps.get() {
                bar.finish();
            }
        }
    }

    fn metrics(&self, scalars: &Scalars) {
        let shown = |name, text: fn(f64) -> String| scalars.get(name).map(text);
        // A step in which only the discriminator trains has neither loss nor norm.
        let text: Vec<String> = [
            shown("loss", |loss| format!("loss {loss:.4}")),
            shown("learning_rate", |rate| format!("lr {rate:.1e}")),
            shown("gradient_norm", |norm| format!("norm {norm:.2}")),
            shown("clips_per_second", |clips| format!("{clips:.1} clips/s")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let text = text.join("  ");
        if let Some(bar) = &*self.bar.borrow() {
            bar.set_message(text);
            return;
        }
        let (step, steps) = (scalars.step(), self.steps.get());
        let done = step.saturating_sub(self.first_step.get()).max(1);
        let left = steps.saturating_sub(step) as f64 / done as f64;
        let elapsed = self
            .start
            .get()
            .map_or_else(Default::default, |t| t.elapsed());
        let left = HumanDuration(elapsed.mul_f64(left));
        tell(format_args!("step {step}/{steps}  {text}  {left} left"));
    }

    fn message(&self, text: &str) {
        match &*self.bar.borrow() {
            Some(bar) => bar.println(without_controls(text)),
            None => tell(text),
        }
    }

    fn reading(&self, done: usize, all: usize) {
        self.items(done, all);
    }

    fn encoding(&self, done: usize, all: usize) {
        self.items(done, all);
    }
}
