//! What every encoder does.

use crate::{Frame, VideoError};

/// One output format. Frames come in one size; `finish` comes after at least one.
pub(super) trait Encoder: Send {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError>;
    fn finish(self: Box<Self>) -> Result<(), VideoError>;
}
