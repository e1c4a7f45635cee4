//! The interface of every encoder.

use crate::{Frame, VideoError};

/// One output format. All frames have the same size; `finish` is called after at least one.
pub(super) trait Encoder: Send {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError>;
    fn finish(self: Box<Self>) -> Result<(), VideoError>;
}
