//! Animated WebP. The container is parsed and the frames are composed here, because the decoder's
//! own composition does not follow the specification's disposal rules; the decoder gets each frame
//! as a still picture.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use image_webp::WebPDecoder;

use super::canvas::{Canvas, Disposal, Patch};
use super::frames::{Frames, checked_size};
use crate::{Frame, VideoError};

/// Bytes before the first chunk after `VP8X`: `RIFF`, the size of the rest, `WEBP`, and `VP8X` with
/// its size, flags and the size of the canvas.
pub(super) const START: usize = 12 + 18;
/// The animation bit in the flags of `VP8X`.
const ANIMATED: u8 = 0x02;
const ALPHA: u8 = 0x10;
/// Bytes of `ANMF` before the chunks of its picture.
const FRAME_HEADER: usize = 16;

/// The frames of an animated WebP, or `None` for a still one.
pub(super) fn open(path: &Path) -> Result<Option<Frames>, VideoError> {
    let io = |e| VideoError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut file = BufReader::new(file);
    let mut start = [0; START];
    if file.read_exact(&mut start).is_err() || !is_animated(&start) {
        return Ok(None);
    }
    let riff = u64::from(u32::from_le_bytes([start[4], start[5], start[6], start[7]]));
    // The last byte may be missing if it is only padding.
    if length + 1 < riff + 8 {
        return Err(VideoError::decode(path, "the file ends early"));
    }
    let (width, height) = checked_size(path, size_at(&start[24..]), size_at(&start[27..]))?;
    Ok(Some(Box::new(WebpFrames {
        path: path.to_owned(),
        file,
        left: length - start.len() as u64,
        canvas: Canvas::new(width, height),
    })))
}

/// Whether the file that starts like this is an animation.
pub(super) fn is_animated(start: &[u8; START]) -> bool {
    start.starts_with(b"RIFF") && &start[8..16] == b"WEBPVP8X" && start[20] & ANIMATED != 0
}

/// A side in pixels, stored as one less.
fn size_at(bytes: &[u8]) -> u64 {
    number_at(bytes) + 1
}

fn number_at(bytes: &[u8]) -> u64 {
    u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
}

struct WebpFrames {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes left in the file.
    left: u64,
    canvas: Canvas,
}

impl Iterator for WebpFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.next_chunk().transpose()?;
        let frame = frame
            .map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => {
                    VideoError::decode(&self.path, "the file ends early")
                }
                _ => VideoError::io(&self.path, e),
            })
            .and_then(|chunk| self.draw(&chunk));
        Some(frame)
    }
}

impl WebpFrames {
    /// The contents of the next `ANMF`.
    fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        // Some programs leave less than a header at the end.
        while let Some(left) = self.left.checked_sub(8) {
            let mut header = [0; 8];
            self.file.read_exact(&mut header)?;
            let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            let padded = u64::from(size) + u64::from(size % 2);
            if u64::from(size) > left {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left = left.saturating_sub(padded);
            if header.starts_with(b"ANMF") {
                let mut chunk = vec![0; size as usize];
                self.file.read_exact(&mut chunk)?;
                self.file
                    .seek_relative((padded - u64::from(size)).cast_signed())?;
                return Ok(Some(chunk));
            }
            self.file.seek_relative(padded.cast_signed())?;
        }
        Ok(None)
    }

    fn draw(&mut self, chunk: &[u8]) -> Result<Frame, VideoError> {
        let path = &self.path;
        let damaged = || VideoError::decode(path, "a frame is damaged");
        let (header, picture) = chunk.split_at_checked(FRAME_HEADER).ok_or_else(damaged)?;
        let (width, height) = checked_size(path, size_at(&header[6..]), size_at(&header[9..]))?;
        let flags = header[15];
        let still = still(picture, &header[6..12]).ok_or_else(damaged)?;
        let failed = |e| VideoError::decode(path, e);
        let mut decoder = WebPDecoder::new(Cursor::new(still)).map_err(failed)?;
        if decoder.dimensions() != (width as u32, height as u32) {
            return Err(damaged());
        }
        let size = decoder.output_buffer_size().ok_or_else(damaged)?;
        let mut pixels = vec![0; size];
        decoder.read_image(&mut pixels).map_err(failed)?;
        if !decoder.has_alpha() {
            let (rgb, _) = pixels.as_chunks::<3>();
            pixels = rgb.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
        }
        let patch = Patch {
            left: 2 * number_at(header) as usize,
            top: 2 * number_at(&header[3..]) as usize,
            width,
            height,
            over: flags & 0x02 == 0,
            disposal: match flags & 0x01 {
                0 => Disposal::Keep,
                _ => Disposal::Clear,
            },
        };
        Ok(self.canvas.draw(patch, &pixels, width * 4))
    }
}

/// A still WebP from the chunks of a frame, with `size` as `VP8X` stores it.
fn still(chunks: &[u8], size: &[u8]) -> Option<Vec<u8>> {
    let mut rest = chunks;
    let (mut alpha, mut picture) = (None, None);
    while picture.is_none() {
        let (header, after) = rest.split_at_checked(8)?;
        let bytes = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let whole = rest.get(..bytes.checked_add(8)?)?;
        match &header[..4] {
            b"ALPH" => alpha = Some(whole),
            b"VP8 " | b"VP8L" => picture = Some(whole),
            _ => {}
        }
        rest = after.get(bytes + bytes % 2..).unwrap_or_default();
    }
    let mut file = b"RIFF....WEBP".to_vec();
    let mut add = |chunk: &[u8]| {
        file.extend_from_slice(chunk);
        file.resize(file.len() + chunk.len() % 2, 0);
    };
    let picture = picture?;
    if let Some(alpha) = alpha.filter(|_| picture.starts_with(b"VP8 ")) {
        add(&[&b"VP8X\x0a\0\0\0"[..], &[ALPHA, 0, 0, 0], size].concat());
        add(alpha);
    }
    add(picture);
    let riff = u32::try_from(file.len() - 8).ok()?;
    file[4..8].copy_from_slice(&riff.to_le_bytes());
    Some(file)
}
