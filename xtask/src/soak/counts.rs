/// Counts of what was done, by kind.
#[derive(Default)]
pub(super) struct Counts {
    pub done: Vec<(String, usize)>,
    pub failures: Vec<String>,
}

impl Counts {
    pub(super) fn add(&mut self, what: impl Into<String>) {
        let what = what.into();
        match self.done.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += 1,
            None => self.done.push((what, 1)),
        }
    }

    /// Records a failed check.
    pub(super) fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("FAILED: {what}");
        self.failures.push(what);
    }
}
