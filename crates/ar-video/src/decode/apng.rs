//! Animated PNG.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use png::{BlendOp, ColorType, Decoder, DecodingError, DisposeOp, Limits, Reader, Transformations};

use super::canvas::{Canvas, Disposal, Patch};
use super::frames::{Frames, checked_size};
use crate::limits::MAX_PIXELS;
use crate::{Frame, VideoError};

/// The frames of an animated PNG, or `None` for a still one.
pub(super) fn open(path: &Path) -> Result<Option<Frames>, VideoError> {
    let file = File::open(path).map_err(|e| VideoError::io(path, e))?;
    let limits = Limits {
        bytes: 8 * MAX_PIXELS as usize,
    };
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), limits);
    decoder.set_transformations(Transformations::normalize_to_color8() | Transformations::ALPHA);
    let failed = |e| VideoError::decode(path, e);
    let mut reader = decoder.read_info().map_err(failed)?;
    let info = reader.info();
    let (width, height) = checked_size(path, info.width.into(), info.height.into())?;
    let Some(control) = info.animation_control() else {
        return Ok(None);
    };
    let frames = control.num_frames;
    let is_first_frame = info.frame_control().is_some();
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| failed(DecodingError::LimitsExceeded))?;
    let mut buffer = vec![0; size];
    if !is_first_frame {
        // The default image is for programs that know no animation.
        reader.next_frame(&mut buffer).map_err(failed)?;
    }
    let canvas = Canvas::new(width, height);
    Ok(Some(Box::new(ApngFrames {
        path: path.to_owned(),
        reader,
        frames,
        canvas,
        buffer,
    })))
}

struct ApngFrames {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    /// Frames to come.
    frames: u32,
    canvas: Canvas,
    buffer: Vec<u8>,
}

impl Iterator for ApngFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.frames = self.frames.checked_sub(1)?;
        Some(
            self.next_frame()
                .map_err(|e| VideoError::decode(&self.path, e)),
        )
    }
}

impl ApngFrames {
    fn next_frame(&mut self) -> Result<Frame, DecodingError> {
        let output = self.reader.next_frame(&mut self.buffer)?;
        let info = self.reader.info();
        let (width, height) = (output.width as usize, output.height as usize);
        let mut patch = Patch {
            left: 0,
            top: 0,
            width,
            height,
            over: false,
            disposal: Disposal::Keep,
        };
        if let Some(control) = info.frame_control() {
            patch.left = control.x_offset as usize;
            patch.top = control.y_offset as usize;
            patch.over = control.blend_op == BlendOp::Over;
            patch.disposal = match control.dispose_op {
                DisposeOp::None => Disposal::Keep,
                DisposeOp::Background => Disposal::Clear,
                DisposeOp::Previous => Disposal::Restore,
            };
        }
        // The rows of an interlaced picture are as far apart as those of the whole canvas.
        let line = if info.interlaced {
            info.width as usize
        } else {
            width
        };
        Ok(if output.color_type == ColorType::GrayscaleAlpha {
            let rgba: Vec<u8> = self
                .buffer
                .chunks_exact(2)
                .flat_map(|p| [p[0], p[0], p[0], p[1]])
                .collect();
            self.canvas.draw(patch, &rgba, line * 4)
        } else {
            self.canvas.draw(patch, &self.buffer, line * 4)
        })
    }
}
