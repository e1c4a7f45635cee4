//! Writing: a file is first written to a temporary sibling, and renamed when it is complete; a
//! stream is written frame by frame.

mod apng;
mod encoder;
mod format;
mod fragmented;
mod gif;
mod h264;
mod mp4;
mod output;
mod palette;
mod png;
mod raw;
mod yuv;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{Clip, Enlargement, Frame, VideoError};

use encoder::Encoder;
pub use format::VideoFormat;
pub use png::{encode_png, png_base64};

/// Writes a video frame by frame.
///
/// The complete output appears at its path in [`finish`](Self::finish), and replaces an existing
/// one. A writer that is dropped before, or whose write failed, leaves nothing behind (except the
/// folders above the output that [`create`](Self::create) made).
///
/// Memory: GIF and PNG frames are written at once. MP4 keeps the compressed frames, and APNG all
/// frames, until the end, because their number is at the start of the file.
///
/// - **MP4**: H.264, YUV 4:2:0, BT.601, limited range; lossy. Odd sizes are padded to even ones,
///   and small ones to 16, by repeating the edge pixels. At most 3840x2160 or 2160x3840.
/// - **GIF**: at most 256 colours per frame, exact if the frame has no more; loops forever. Times
///   are multiples of 1/100 s, rounded so that the video keeps its rate. At most 50 frames per
///   second, because players slow down faster ones: a higher rate plays at 50.
/// - **APNG**: lossless; loops forever.
/// - **PNG**: a folder of `frame_00000.png`, `frame_00001.png`, ...; lossless, without a rate. An
///   existing folder is replaced if it contains only such files.
/// - **Raw**: RGB bytes, frame after frame; lossless, without size or rate.
///
/// MP4 and raw frames also [stream](Self::stream).
pub struct VideoWriter {
    path: PathBuf,
    /// `None` after an error.
    encoder: Option<Box<dyn Encoder>>,
    size: Option<(usize, usize)>,
    enlargement: Enlargement,
    index: usize,
}

impl VideoWriter {
    /// Fails if a video could not be written, as far as this can be known in advance. Missing
    /// parent folders are created.
    ///
    /// # Errors
    /// If the frame rate is out of range or the path cannot be written.
    pub fn check(path: impl AsRef<Path>, format: VideoFormat, fps: f64) -> Result<(), VideoError> {
        let path = path.as_ref();
        check_rate(fps)?;
        match format {
            VideoFormat::Png => output::OutputFolder::check(path),
            _ => ar_files::check_writable(path).map_err(|e| VideoError::io(path, e)),
        }
    }

    /// Fails if a format cannot hold frames of this size, `[width, height]`; the path is for the message.
    ///
    /// # Errors
    /// In that case.
    pub fn check_size(
        path: impl AsRef<Path>,
        format: VideoFormat,
        size: [usize; 2],
    ) -> Result<(), VideoError> {
        match format {
            VideoFormat::Mp4 => h264::padded(path.as_ref(), size).map(drop),
            VideoFormat::Gif => gif::size_of(path.as_ref(), size).map(drop),
            VideoFormat::Apng | VideoFormat::Png | VideoFormat::Raw => Ok(()),
        }
    }

    /// Starts a video at `fps` frames per second (0.01 to 1000). Missing parent folders are
    /// created. An existing file is replaced, but keeps its permissions; links are followed. A pipe
    /// or a device is written to: frame by frame in a format that [streams](VideoFormat::streams),
    /// otherwise at the end.
    ///
    /// # Errors
    /// If the frame rate is out of range or the path cannot be written.
    pub fn create(
        path: impl AsRef<Path>,
        format: VideoFormat,
        fps: f64,
    ) -> Result<Self, VideoError> {
        let path = path.as_ref();
        check_rate(fps)?;
        if format.streams() && ar_files::is_stream(path).is_ok_and(|is_stream| is_stream) {
            let name = path.to_string_lossy();
            return Self::stream(output::Pipe::new(path), &name, format, fps);
        }
        let encoder: Box<dyn Encoder> = match format {
            VideoFormat::Mp4 => Box::new(mp4::Mp4Encoder::create(path, fps)?),
            VideoFormat::Gif => Box::new(gif::GifEncoder::create(path, fps)?),
            VideoFormat::Apng => Box::new(apng::ApngEncoder::create(path, fps)?),
            VideoFormat::Png => Box::new(png::PngFolder::create(path)?),
            VideoFormat::Raw => {
                let output = output::OutputFile::create(path)?;
                Box::new(raw::RawFrames::new(path, output, |file| file.persist()))
            }
        };
        Ok(Self::new(path, encoder))
    }

    /// Starts a video at `fps` frames per second (0.01 to 1000) that is written to `output` frame
    /// by frame, flushed after each, in constant memory. MP4 is fragmented: it plays while it is
    /// written, and as far as it was written. Nothing is written before the first frame.
    ///
    /// `name` is used instead of the path in messages.
    ///
    /// # Errors
    /// If the frame rate is out of range or the format [does not stream](VideoFormat::streams).
    pub fn stream(
        output: impl Write + Send + 'static,
        name: &str,
        format: VideoFormat,
        fps: f64,
    ) -> Result<Self, VideoError> {
        check_rate(fps)?;
        let path = Path::new(name);
        let encoder: Box<dyn Encoder> = match format {
            VideoFormat::Mp4 => Box::new(fragmented::FragmentedMp4::new(path, output, fps)),
            VideoFormat::Raw => Box::new(raw::RawFrames::new(path, output, |_| Ok(()))),
            VideoFormat::Gif | VideoFormat::Apng | VideoFormat::Png => {
                return Err(VideoError::NoStream { format });
            }
        };
        Ok(Self::new(path, encoder))
    }

    fn new(path: &Path, encoder: Box<dyn Encoder>) -> Self {
        Self {
            path: path.to_owned(),
            encoder: Some(encoder),
            size: None,
            enlargement: Enlargement::NONE,
            index: 0,
        }
    }

    /// Enlarges every frame before it is written.
    pub fn enlarging(self, enlargement: Enlargement) -> Self {
        Self {
            enlargement,
            ..self
        }
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// If the frame has another size than the first one, the format does not support it, or it
    /// cannot be written. After an error, every further call fails.
    pub fn write(&mut self, frame: &Frame) -> Result<(), VideoError> {
        let mut encoder = self.take()?;
        let expected = *self.size.get_or_insert(frame.size());
        if frame.size() != expected {
            return Err(VideoError::FrameSize {
                path: self.path.clone(),
                index: self.index,
                expected,
                found: frame.size(),
            });
        }
        if self.enlargement.factor > 1 {
            encoder.write(&self.enlargement.apply(frame))?;
        } else {
            encoder.write(frame)?;
        }
        self.encoder = Some(encoder);
        self.index += 1;
        Ok(())
    }

    /// Completes the video and puts it at its path.
    ///
    /// # Errors
    /// If there are no frames, an earlier write failed, or the rest cannot be written.
    pub fn finish(mut self) -> Result<(), VideoError> {
        let encoder = self.take()?;
        if self.index == 0 {
            return Err(VideoError::NothingWritten { path: self.path });
        }
        encoder.finish()
    }

    fn take(&mut self) -> Result<Box<dyn Encoder>, VideoError> {
        self.encoder
            .take()
            .ok_or_else(|| VideoError::encode(&self.path, "an earlier frame could not be written"))
    }
}

fn check_rate(fps: f64) -> Result<(), VideoError> {
    // NaN is outside every range.
    if (0.01..=1000.0).contains(&fps) {
        Ok(())
    } else {
        Err(VideoError::FrameRate { fps })
    }
}

impl FromStr for VideoFormat {
    type Err = VideoError;

    fn from_str(name: &str) -> Result<Self, VideoError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| VideoError::UnknownFormat {
                name: name.to_owned(),
            })
    }
}

impl fmt::Debug for VideoWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VideoWriter({:?}, {} frames)", self.path, self.index)
    }
}

/// Writes a whole clip; see [`VideoWriter`].
///
/// # Errors
/// As for [`VideoWriter`].
pub fn write_clip(
    path: impl AsRef<Path>,
    clip: &Clip,
    format: VideoFormat,
    fps: f64,
) -> Result<(), VideoError> {
    let path = path.as_ref();
    let mut writer = VideoWriter::create(path, format, fps)?;
    for frame in clip.frames() {
        writer.write(frame)?;
    }
    writer.finish()
}
