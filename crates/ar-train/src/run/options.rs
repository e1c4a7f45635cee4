use std::fmt;
use std::rc::Rc;

use burn_train::Interrupter;

use crate::log::{Observer, Silent};

/// How a stage runs, independent of its configuration.
#[derive(Clone)]
pub struct StageOptions {
    /// Whether to continue the run in the folder; otherwise a folder that contains a run is
    /// refused.
    pub resume: bool,
    /// Asks the stage to stop after the current step or batch.
    pub interrupter: Interrupter,
    /// Observes the progress of the stage.
    pub observer: Rc<dyn Observer>,
}

impl Default for StageOptions {
    /// From the start, without interruption, and silently.
    fn default() -> Self {
        Self {
            resume: false,
            interrupter: Interrupter::new(),
            observer: Rc::new(Silent),
        }
    }
}

impl fmt::Debug for StageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageOptions")
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}
