//! The losses of a step, averaged over its parts.

/// Named means.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Losses(Vec<(&'static str, f64)>);

impl Losses {
    /// Adds the value of a part that makes up `share` of the step.
    pub(crate) fn add(&mut self, name: &'static str, value: f64, share: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, mean)) => *mean += value * share,
            None => self.0.push((name, value * share)),
        }
    }

    /// The means, in the order in which they were first added.
    pub(crate) fn means(&self) -> &[(&'static str, f64)] {
        &self.0
    }
}
