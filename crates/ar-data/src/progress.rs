/// Observes the reading of videos: any `FnMut(usize, usize)`, or a type that can also stop it.
pub trait Progress {
    /// `done` of `all` videos have been read.
    fn scanned(&mut self, done: usize, all: usize);

    /// Whether to stop. This is called several times per second.
    fn should_stop(&self) -> bool {
        false
    }
}

impl<F: FnMut(usize, usize)> Progress for F {
    fn scanned(&mut self, done: usize, all: usize) {
        self(done, all);
    }
}
