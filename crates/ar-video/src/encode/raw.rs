//! Pixels and nothing else.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::encoder::Encoder;
use crate::{Frame, VideoError};

/// Completes an output.
type Complete<W> = fn(W) -> Result<(), VideoError>;

pub(super) struct RawFrames<W> {
    path: PathBuf,
    output: W,
    complete: Complete<W>,
}

impl<W> RawFrames<W> {
    pub(super) fn new(path: &Path, output: W, complete: Complete<W>) -> Self {
        Self {
            path: path.to_owned(),
            output,
            complete,
        }
    }
}

impl<W: Write + Send> Encoder for RawFrames<W> {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError> {
        self.output
            .write_all(frame.rgb())
            .and_then(|()| self.output.flush())
            .map_err(|e| VideoError::io(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<(), VideoError> {
        (self.complete)(self.output)
    }
}
