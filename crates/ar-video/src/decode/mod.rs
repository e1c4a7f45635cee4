//! Reading: the format is detected from a file's first bytes, not from its name.

mod apng;
mod blend;
mod canvas;
mod ffmpeg;
mod frames;
mod gif;
mod guard;
mod images;
mod names;
mod natural_order;
mod pam;
mod webp;
mod y4m;

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use image::ImageFormat;

use crate::{Clip, Frame, VideoError};

pub use ffmpeg::Ffmpeg;
use frames::Frames;
use guard::{animation, guarded};
use names::{MOTION_JPEG_EXTENSIONS, Named, has_extension, is_hidden, named};

/// The frames of a video in order, in constant memory. An error ends the iteration.
///
/// Reads files that ffmpeg can decode, GIF, APNG and WebP animations, single PNG, JPEG, BMP and
/// WebP images (videos of one frame), and folders of such images in natural order of their names
/// (`2.png` before `10.png`). Frame times are ignored: each stored frame counts once. Transparent
/// pixels are blended over black. All frames have the same size.
///
/// A damaged video is refused as a whole, in the same way every time, so iterate to the end before
/// you use its frames. The limits are 16,384 pixels per side, 2^26 pixels per frame, 512 MiB per
/// picture file, and for animations (GIF, APNG, WebP) 2^26 pixels in all frames together plus 4096
/// for each byte of the file.
///
/// ```no_run
/// # fn main() -> Result<(), ar_video::VideoError> {
/// let reader = ar_video::VideoReader::open("holiday.mp4")?;
/// println!("{:?}", reader.size());
/// for frame in reader {
///     println!("{:?}", frame?);
/// }
/// # Ok(())
/// # }
/// ```
pub struct VideoReader {
    path: PathBuf,
    frames: Frames,
    size: (usize, usize),
    /// Already read by `open`.
    first: Option<Frame>,
    index: usize,
    failed: bool,
}

impl VideoReader {
    /// Opens a video and decodes its first frame, with the `ffmpeg` of [`Ffmpeg::from_env`] if one
    /// is needed.
    ///
    /// # Errors
    /// If the path is missing or empty, or the first frame cannot be decoded.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, VideoError> {
        let path = path.as_ref();
        Self::open_with(path, &Ffmpeg::from_env())
    }

    /// [`open`](Self::open) with a given ffmpeg.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, ffmpeg: &Ffmpeg) -> Result<Self, VideoError> {
        let path = path.as_ref();
        Self::start(path, frames_of(path, ffmpeg, 0)?, 0)
    }

    /// [`open`](Self::open) for a video without its first `skipped` frames. They cost nothing in a
    /// folder of images; otherwise they are decoded.
    ///
    /// # Errors
    /// As for [`open`](Self::open), and if the video has no more frames.
    pub fn open_at(path: impl AsRef<Path>, skipped: usize) -> Result<Self, VideoError> {
        let path = path.as_ref();
        Self::start(
            path,
            frames_of(path, &Ffmpeg::from_env(), skipped)?,
            skipped,
        )
    }

    fn start(path: &Path, mut frames: Frames, index: usize) -> Result<Self, VideoError> {
        let path = path.to_owned();
        let Some(first) = frames.next().transpose()? else {
            return Err(VideoError::NoFrames { path });
        };
        let size = first.size();
        Ok(Self {
            path,
            frames,
            size,
            first: Some(first),
            index,
            failed: false,
        })
    }

    /// Width and height of the frames.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    fn next_frame(&mut self) -> Option<Result<Frame, VideoError>> {
        let frame = match self.first.take() {
            Some(first) => first,
            None => match self.frames.next()? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(error)),
            },
        };
        if frame.size() != self.size {
            return Some(Err(VideoError::FrameSize {
                path: self.path.clone(),
                index: self.index,
                expected: self.size,
                found: frame.size(),
            }));
        }
        self.index += 1;
        Some(Ok(frame))
    }
}

impl fmt::Debug for VideoReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = self.size;
        write!(f, "VideoReader({:?}, {width}x{height})", self.path)
    }
}

impl Iterator for VideoReader {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.next_frame();
        self.failed = !matches!(item, Some(Ok(_)));
        item
    }
}

/// All frames of a video; see [`VideoReader`].
///
/// # Errors
/// If the video cannot be opened, or any of its frames cannot be decoded.
pub fn read_clip(path: impl AsRef<Path>) -> Result<Clip, VideoError> {
    let path = path.as_ref();
    VideoReader::open(path)?
        .collect::<Result<_, _>>()
        .map(Clip::new)
}

/// The kind of a file in a dataset, by its name. PNG and WebP files may be animations, so their
/// start is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A video, animations included.
    Video,
    /// A still picture, which may be a frame of a video.
    Picture,
    /// A picture in a format that is not read.
    OtherPicture,
    /// Something that is often found beside videos: text, sound, arrays, hidden files.
    Beside,
    /// Unknown from the name.
    Unknown,
}

impl FileKind {
    /// The kind of the file at `path`.
    pub fn of(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        if is_hidden(path) {
            return Self::Beside;
        }
        match named(path) {
            Named::Video => Self::Video,
            Named::Picture if images::is_animated_file(path) => Self::Video,
            Named::Picture => Self::Picture,
            Named::OtherPicture => Self::OtherPicture,
            Named::Beside => Self::Beside,
            Named::Unknown => Self::Unknown,
        }
    }
}

/// The frames of a video without its first `skipped` ones.
fn frames_of(path: &Path, ffmpeg: &Ffmpeg, skipped: usize) -> Result<Frames, VideoError> {
    let metadata = fs::metadata(path).map_err(|e| VideoError::io(path, e))?;
    if metadata.is_dir() {
        return images::open_folder(path, skipped);
    }
    if !metadata.is_file() {
        return Err(VideoError::NotAFile {
            path: path.to_owned(),
        });
    }
    if metadata.len() == 0 {
        return Err(VideoError::EmptyFile {
            path: path.to_owned(),
        });
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut head))
        .map_err(|e| VideoError::io(path, e))?;
    // Motion JPEG starts like a still picture.
    let format = image::guess_format(&head)
        .ok()
        .filter(|_| !has_extension(path, &MOTION_JPEG_EXTENSIONS));
    let native = |open: &dyn Fn() -> Result<Frames, VideoError>| {
        Ok(animation(path, guarded(path, open)?, metadata.len()))
    };
    let mut frames = match format {
        Some(ImageFormat::Gif) => native(&|| gif::open(path))?,
        Some(format) if images::FORMATS.contains(&format) => {
            native(&|| images::open_file(path, format))?
        }
        _ => {
            if head.starts_with(y4m::MAGIC) {
                y4m::check_end(path)?;
            }
            ffmpeg.open(path)?
        }
    };
    for _ in 0..skipped {
        if frames.next().transpose()?.is_none() {
            break;
        }
    }
    Ok(frames)
}
