//! Animated PNG.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::iter;
use std::ops::Range;
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
    // Compressed, and not needed here.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
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
        // The default image is for programs that do not support animation.
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

/// Whether a PNG file is an animation with more than one frame. The animation control chunk comes
/// before the pixels; only the heads of chunks are read. A file that is not PNG is not an
/// animation.
pub(super) fn is_animated(stream: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut start = [0; 8];
    stream.read_exact(&mut start)?;
    if start != MAGIC {
        return Ok(false);
    }
    for _ in 0..MOST_CHUNKS {
        // Length, kind and, for the control chunk, the number of frames.
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        let [length, frames] = [&head[..4], &head[8..]].map(|bytes| {
            let bytes = bytes.try_into().expect("four bytes");
            u32::from_be_bytes(bytes)
        });
        match &head[4..8] {
            b"acTL" => return Ok(frames > 1),
            b"IDAT" | b"IEND" => return Ok(false),
            // To the end of the checksum of four bytes.
            _ => stream.seek_relative(i64::from(length))?,
        }
    }
    Ok(false)
}

/// Number of chunks before the pixels that are searched for the animation control; usually there
/// are only a few.
const MOST_CHUNKS: usize = 1000;

const MAGIC: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// A PNG file without its colour profile, which may unpack to gigabytes; other files as they are.
pub(super) fn without_profile(bytes: &[u8]) -> Cow<'_, [u8]> {
    match chunks(bytes).find(|(kind, _)| kind == b"iCCP") {
        Some((_, place)) => [&bytes[..place.start], &bytes[place.end..]].concat().into(),
        None => bytes.into(),
    }
}

/// Kinds and positions of the complete chunks before the pixels of a PNG file.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Range<usize>)> {
    let mut place = if bytes.starts_with(&MAGIC) {
        8
    } else {
        bytes.len()
    };
    iter::from_fn(move || {
        let header = bytes.get(place..place.checked_add(8)?)?;
        let (length, kind) = header.split_at(4);
        let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
        let end = place.checked_add(length)?.checked_add(12)?;
        if kind == b"IDAT" || end > bytes.len() {
            return None;
        }
        let chunk = place..end;
        place = end;
        Some((kind, chunk))
    })
}

struct ApngFrames {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    /// Number of remaining frames.
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
        // The rows of an interlaced picture have the stride of the whole canvas.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with chunks of `length` bytes, all of which are 2.
    fn png(kinds: &[&[u8; 4]], length: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for kind in kinds {
            bytes.extend(length.to_be_bytes());
            bytes.extend(*kind);
            bytes.resize(bytes.len() + length as usize + 4, 2);
        }
        bytes
    }

    fn is_animated(bytes: &[u8]) -> bool {
        super::is_animated(&mut io::Cursor::new(bytes)).unwrap_or(false)
    }

    #[test]
    fn chunks_before_the_pixels_are_known() {
        let animated = png(&[b"IHDR", b"gAMA", b"acTL", b"IDAT"], 8);
        assert!(is_animated(&animated));
        let mut one_frame = animated;
        one_frame[8 + 2 * 20 + 8..][..4].copy_from_slice(&[0, 0, 0, 1]);
        assert!(!is_animated(&one_frame));
        assert!(!is_animated(&png(&[b"IHDR", b"IDAT", b"acTL"], 8)));
        assert!(!is_animated(b"acTL"));

        let with = png(&[b"IHDR", b"iCCP", b"gAMA", b"IDAT"], 5);
        let without = without_profile(&with);
        assert!(without.len() == with.len() - 17 && !without.windows(4).any(|w| w == b"iCCP"));
        for end in 0..with.len() {
            is_animated(&with[..end]);
            without_profile(&with[..end]);
        }
        let late = png(&[b"IHDR", b"IDAT", b"iCCP"], 5);
        assert_eq!(*without_profile(&late), *late);
    }
}
