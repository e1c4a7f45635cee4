//! GIF animations.

use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use gif::{ColorOutput, DecodeOptions, Decoder, DisposalMethod, MemoryLimit};

use super::canvas::{Canvas, Disposal, Patch};
use super::frames::{Frames, checked_size};
use crate::limits::MAX_PIXELS;
use crate::{Frame, VideoError};

pub(super) fn open(path: &Path) -> Result<Frames, VideoError> {
    let file = File::open(path).map_err(|e| VideoError::io(path, e))?;
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    let limit = NonZeroU64::new(4 * MAX_PIXELS).expect("the limit is not zero");
    options.set_memory_limit(MemoryLimit::Bytes(limit));
    let decoder = options
        .read_info(file)
        .map_err(|e| VideoError::decode(path, e))?;
    let (width, height) = checked_size(path, decoder.width().into(), decoder.height().into())?;
    let canvas = Canvas::new(width, height);
    Ok(Box::new(GifFrames {
        path: path.to_owned(),
        decoder,
        canvas,
    }))
}

struct GifFrames {
    path: PathBuf,
    decoder: Decoder<File>,
    canvas: Canvas,
}

impl Iterator for GifFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = match self.decoder.read_next_frame() {
            Ok(frame) => frame?,
            Err(e) => return Some(Err(VideoError::decode(&self.path, e))),
        };
        let patch = Patch {
            left: frame.left.into(),
            top: frame.top.into(),
            width: frame.width.into(),
            height: frame.height.into(),
            over: true,
            disposal: match frame.dispose {
                DisposalMethod::Any | DisposalMethod::Keep => Disposal::Keep,
                DisposalMethod::Background => Disposal::Clear,
                DisposalMethod::Previous => Disposal::Restore,
            },
        };
        Some(Ok(self.canvas.draw(patch, &frame.buffer, patch.width * 4)))
    }
}
