use std::fmt;
use std::rc::Rc;

use burn_train::Interrupter;

use crate::log::{Observer, Silent};

/// How a stage runs, whatever it is configured to do.
#[derive(Clone)]
pub struct StageOptions {
    /// Whether to go on where the run in the folder stopped; otherwise a folder that holds a run is
    /// refused.
    pub resume: bool,
    /// Asks the stage to stop after the step, or the batch, at hand.
    pub interrupter: Interrupter,
    /// Whoever follows the stage.
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
