//! GIF with a palette for each frame.

use std::path::{Path, PathBuf};

use gif::{Encoder as RawEncoder, EncodingError, Frame as GifFrame, Repeat};

use super::VideoFormat;
use super::encoder::Encoder;
use super::output::OutputFile;
use super::palette::{Indexed, quantise};
use crate::{Frame, VideoError};

/// Players take shorter frames (in 1/100 s) for a mistake, and show them for 10.
const MIN_DELAY: f64 = 2.0;
pub(super) struct GifEncoder {
    path: PathBuf,
    /// Duration of a frame in 1/100 s.
    delay: f64,
    /// None before the first frame, which determines the size.
    output: Option<OutputFile>,
    encoder: Option<RawEncoder<OutputFile>>,
    frames: u64,
}

impl GifEncoder {
    pub(super) fn create(path: &Path, fps: f64) -> Result<Self, VideoError> {
        Ok(Self {
            path: path.to_owned(),
            delay: (100.0 / fps).max(MIN_DELAY),
            output: Some(OutputFile::create(path)?),
            encoder: None,
            frames: 0,
        })
    }

    fn start(
        &self,
        frame: &Frame,
        output: OutputFile,
    ) -> Result<RawEncoder<OutputFile>, VideoError> {
        let (width, height) = size_of(&self.path, [frame.width(), frame.height()])?;
        let failed = |e| encoding_error(&self.path, e);
        let mut encoder = RawEncoder::new(output, width, height, &[]).map_err(failed)?;
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        Ok(encoder)
    }

    /// The duration of the next frame, which makes up for the rounding error of the previous one.
    fn next_delay(&self) -> u16 {
        let end_of = |frame: u64| (frame as f64 * self.delay).round();
        (end_of(self.frames + 1) - end_of(self.frames)) as u16
    }
}

impl Encoder for GifEncoder {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError> {
        if let Some(output) = self.output.take() {
            self.encoder = Some(self.start(frame, output)?);
        }
        let (width, height) = size_of(&self.path, [frame.width(), frame.height()])?;
        let Indexed { palette, pixels } = quantise(frame.rgb());
        let picture = GifFrame {
            width,
            height,
            delay: self.next_delay(),
            palette: Some(palette),
            buffer: pixels.into(),
            ..GifFrame::default()
        };
        let encoder = self.encoder.as_mut().expect("started with the first frame");
        encoder
            .write_frame(&picture)
            .map_err(|e| encoding_error(&self.path, e))?;
        self.frames += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), VideoError> {
        let encoder = self.encoder.expect("started with the first frame");
        encoder
            .into_inner()
            .map_err(|e| encoding_error(&self.path, e))?
            .persist()
    }
}

/// A size as GIF stores it, if it can; the path is for the message.
pub(super) fn size_of(path: &Path, [width, height]: [usize; 2]) -> Result<(u16, u16), VideoError> {
    match (width.try_into(), height.try_into()) {
        (Ok(width), Ok(height)) => Ok((width, height)),
        _ => Err(VideoError::UnsupportedSize {
            path: path.to_owned(),
            format: VideoFormat::Gif,
            width,
            height,
            limit: "65535x65535",
        }),
    }
}

fn encoding_error(path: &Path, error: EncodingError) -> VideoError {
    match error {
        EncodingError::Io(e) => VideoError::io(path, e),
        e => VideoError::encode(path, e),
    }
}
