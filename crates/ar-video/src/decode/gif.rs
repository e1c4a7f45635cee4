//! GIF animations.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
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
        .read_info(Blocks::new(BufReader::new(file)))
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
    decoder: Decoder<Blocks<BufReader<File>>>,
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

/// A GIF with a clean end, which many lack: zeros between blocks are removed, and an end mark is
/// added if the file ends after a picture. A file that ends anywhere else stays truncated.
struct Blocks<R> {
    source: R,
    place: Place,
    /// A piece of the file, and how much of it has been returned.
    piece: Vec<u8>,
    used: usize,
}

/// What comes next in a GIF.
#[derive(Clone, Copy)]
enum Place {
    Header,
    /// A block, after one that may be the last or not.
    Block {
        may_end: bool,
    },
    SubBlock {
        may_end: bool,
    },
    End,
}

const END: u8 = 0x3b;
const EXTENSION: u8 = 0x21;
const GRAPHIC_CONTROL: u8 = 0xf9;
const PICTURE: u8 = 0x2c;

impl<R: BufRead> Blocks<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            place: Place::Header,
            piece: Vec::new(),
            used: 0,
        }
    }

    /// Reads the next piece; it is shorter than it should be if the file ends.
    fn read_piece(&mut self) -> io::Result<()> {
        self.piece.clear();
        self.used = 0;
        match self.place {
            Place::Header => {
                self.take(13)?;
                self.take_colours(10)?;
                self.place = Place::Block { may_end: false };
            }
            Place::Block { may_end } => self.read_block(may_end)?,
            Place::SubBlock { may_end } => {
                self.take(1)?;
                match self.piece.first() {
                    None => self.place = Place::End,
                    Some(0) => self.place = Place::Block { may_end },
                    Some(&length) => self.take(length.into())?,
                }
            }
            Place::End => {}
        }
        Ok(())
    }

    /// The start of a block, up to its sub-blocks.
    fn read_block(&mut self, may_end: bool) -> io::Result<()> {
        loop {
            self.piece.clear();
            self.take(1)?;
            if self.piece != [0] {
                break;
            }
        }
        match self.piece.first() {
            None if may_end => {
                self.piece.push(END);
                self.place = Place::End;
            }
            Some(&EXTENSION) => {
                self.take(1)?;
                // A picture follows its graphic control.
                let may_end = may_end && self.piece.get(1) != Some(&GRAPHIC_CONTROL);
                self.place = Place::SubBlock { may_end };
            }
            Some(&PICTURE) => {
                self.take(9)?;
                self.take_colours(9)?;
                // The size of the first codes.
                self.take(1)?;
                self.place = Place::SubBlock { may_end: true };
            }
            // If this is not the end, the decoder reports what is wrong.
            None | Some(_) => self.place = Place::End,
        }
        Ok(())
    }

    /// Adds `count` bytes to the piece.
    fn take(&mut self, count: u64) -> io::Result<()> {
        let source = self.source.by_ref();
        source.take(count).read_to_end(&mut self.piece).map(drop)
    }

    /// Adds the colour table announced by the flags at `place` of the piece.
    fn take_colours(&mut self, place: usize) -> io::Result<()> {
        match self.piece.get(place) {
            Some(flags) if flags & 0x80 != 0 => self.take(6 << (flags & 7)),
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            self.read_piece()?;
        }
        let left = &self.piece[self.used..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.used += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1x1, two colours.
    const HEADER: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";
    const CONTROL: &[u8] = b"\x21\xf9\x04\0\0\0\0\0";
    const COMMENT: &[u8] = b"\x21\xfe\x02hi\0";
    const DOT: &[u8] = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";

    fn cleaned(parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let source = parts.concat();
        Blocks::new(source.as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn an_unclean_end_is_cleaned() {
        let clean = [HEADER, CONTROL, DOT, DOT, b"\x3b"].concat();
        let zeros = &[0; 7][..];
        for parts in [
            &[HEADER, CONTROL, DOT, DOT, b"\x3b"][..],
            &[HEADER, CONTROL, DOT, DOT],
            &[HEADER, CONTROL, DOT, DOT, zeros],
            &[HEADER, CONTROL, DOT, DOT, b"\x3b", zeros],
            &[HEADER, CONTROL, DOT, DOT, b"\x3bgarbage"],
            &[HEADER, zeros, CONTROL, zeros, DOT, zeros, DOT, zeros],
        ] {
            assert_eq!(cleaned(parts), clean);
        }
        let commented = [HEADER, DOT, COMMENT].concat();
        assert_eq!(cleaned(&[&commented]), [&commented[..], b"\x3b"].concat());
    }

    #[test]
    fn a_cut_stays_a_cut() {
        let clean = [HEADER, CONTROL, DOT, b"\x3b"].concat();
        for end in 0..clean.len() - 1 {
            assert_eq!(cleaned(&[&clean[..end]]), clean[..end], "{end}");
        }
        let control = [HEADER, DOT, CONTROL].concat();
        assert_eq!(cleaned(&[&control]), control);
        let garbage = [HEADER, DOT, b"x"].concat();
        assert_eq!(cleaned(&[&garbage, b"more"]), garbage);
    }
}
