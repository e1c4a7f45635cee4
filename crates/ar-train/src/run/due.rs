//! What is due after a step: evaluation, samples, a checkpoint.

use std::fs;

use super::Run;
use crate::error::Result;

impl Run {
    /// Whether an evaluation on validation data is due in the leader: regularly and at the end.
    pub fn eval_is_due(&self) -> bool {
        self.is_leader() && (self.is_last() || self.is_multiple_of(self.config.eval_every))
    }

    /// Whether the run continues after a step whose evaluation is missing, because an earlier process was killed before
    /// it. `name` is the name of one of the measurements.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn eval_is_missing(&self, name: &str) -> Result<bool> {
        let step = self.position.step;
        let Some(log) = self.log.as_ref().filter(|_| self.resumed_at == Some(step)) else {
            return Ok(false);
        };
        Ok(step > 0 && self.eval_is_due() && !log.has(step, name)?)
    }

    /// Whether the run continues after a step whose samples are missing.
    pub fn samples_are_missing(&self) -> bool {
        let step = self.position.step;
        let path = self.sample_path(step);
        let is_there = || {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok());
            let mut names = entries.into_iter().flatten().flatten();
            names.any(|entry| entry.file_name().to_string_lossy().starts_with(&*name))
        };
        step > 0 && self.resumed_at == Some(step) && self.samples_are_due() && !is_there()
    }

    /// Whether samples are due in the leader: regularly, and at the end, if samples are made at all.
    pub fn samples_are_due(&self) -> bool {
        let every = self.config.sample_every;
        self.is_leader() && every > 0 && (self.is_last() || self.is_multiple_of(every))
    }

    /// Whether a checkpoint is due in the leader: regularly, at the end, and when interrupted. While steps are being
    /// skipped, or the loss has exploded, there are none, so that earlier ones are kept; `is_skipping` says whether an
    /// optimizer is skipping steps that [`Self::step`] does not know about.
    pub fn checkpoint_is_due(&self, is_skipping: bool) -> bool {
        let regular = self.is_multiple_of(self.config.checkpoint_every)
            && self.position.skipped_in_a_row == 0
            && self.exploded == 0
            && !is_skipping;
        self.is_leader() && (self.interrupted || self.is_last() || regular)
    }

    /// Whether the leader must write a checkpoint of a step that had none, because the run was interrupted while it
    /// evaluated or sampled. All processes ask after that.
    pub fn late_checkpoint_is_due(&mut self, is_skipping: bool) -> bool {
        let is_written = self.checkpoint_is_due(is_skipping);
        self.interrupted = self.group.any(self.interrupter.should_stop());
        self.checkpoint_is_due(is_skipping) && !is_written
    }

    fn is_last(&self) -> bool {
        self.position.step == self.config.steps
    }

    fn is_multiple_of(&self, every: usize) -> bool {
        every > 0 && self.position.step.is_multiple_of(every)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{config, open, step, trainer};
    use super::*;
    use crate::group::testing::together;
    use crate::run::StageOptions;
    use burn_train::Interrupter;

    #[test]
    fn no_optimizer_skips_while_a_checkpoint_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let mut run = open(&config, false).expect("a run");
        step(&mut run, &mut trainer(&config), 1.0).expect("a step");
        assert_eq!(
            [false, true].map(|other| run.checkpoint_is_due(other)),
            [true, false]
        );
    }

    #[test]
    fn an_interrupt_while_the_leader_measures_ends_the_run_after_that() {
        for (checkpoint_every, is_late) in [(0, true), (1, false)] {
            let folder = tempfile::tempdir().expect("a folder");
            let mut config = config(folder.path());
            config.run.checkpoint_every = checkpoint_every;
            let outcomes = together(2, |group| {
                let interrupter = Interrupter::new();
                let options = StageOptions {
                    interrupter: interrupter.clone(),
                    ..StageOptions::default()
                };
                let run = Run::open(&config, group.clone(), &options);
                let mut run = run.expect("a run");
                step(&mut run, &mut trainer(&config), 1.0).expect("a step");
                let undisturbed = run.late_checkpoint_is_due(false);
                if group.is_leader() {
                    interrupter.stop(None);
                }
                let is_due = run.late_checkpoint_is_due(false);
                (undisturbed, is_due, run.is_interrupted())
            });
            // Not if the step already has one.
            assert_eq!(outcomes, [(false, is_late, true), (false, false, true)]);
        }
    }
}
