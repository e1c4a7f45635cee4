//! Animated WebP.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image_webp::{DecodingError, WebPDecoder};

use super::canvas::{Canvas, Disposal, Patch};
use super::frames::{Frames, checked_size};
use crate::{Frame, VideoError};

/// The frames of an animated WebP, or `None` for a still one.
pub(super) fn open(path: &Path) -> Result<Option<Frames>, VideoError> {
    let file = File::open(path).map_err(|e| VideoError::io(path, e))?;
    let decoder =
        WebPDecoder::new(BufReader::new(file)).map_err(|e| VideoError::decode(path, e))?;
    let (width, height) = decoder.dimensions();
    let (width, height) = checked_size(path, width.into(), height.into())?;
    if !decoder.is_animated() {
        return Ok(None);
    }
    let frames = decoder.num_frames();
    Ok(Some(Box::new(WebpFrames {
        path: path.to_owned(),
        decoder,
        frames,
        width,
        height,
    })))
}

struct WebpFrames {
    path: PathBuf,
    decoder: WebPDecoder<BufReader<File>>,
    /// Frames to come.
    frames: u32,
    width: usize,
    height: usize,
}

impl Iterator for WebpFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.frames = self.frames.checked_sub(1)?;
        Some(
            self.next_frame()
                .map_err(|e| VideoError::decode(&self.path, e)),
        )
    }
}

impl WebpFrames {
    /// The decoder composes the frames itself.
    fn next_frame(&mut self) -> Result<Frame, DecodingError> {
        let (width, height) = (self.width, self.height);
        if !self.decoder.has_alpha() {
            let mut rgb = vec![0; width * height * 3];
            self.decoder.read_frame(&mut rgb)?;
            return Ok(Frame::new(width, height, rgb));
        }
        let mut rgba = vec![0; width * height * 4];
        self.decoder.read_frame(&mut rgba)?;
        let patch = Patch {
            left: 0,
            top: 0,
            width,
            height,
            over: false,
            disposal: Disposal::Keep,
        };
        Ok(Canvas::new(width, height).draw(patch, &rgba, width * 4))
    }
}
