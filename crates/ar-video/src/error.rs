use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// A video that could not be read or written. Every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// There is nothing at this path.
    #[error("{}: no such file or folder", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path is a device, a pipe or something else that cannot be read twice.
    #[error("{}: neither a file nor a folder", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{}: the file is empty", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The folder has no image files.
    #[error("{}: the folder has no image files (png, jpg, bmp or webp)", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// The file has no video: only sound, or sound and a cover picture.
    #[error(
        "{}: ffmpeg finds no video in this file (a cover picture does not count)",
        path.display()
    )]
    NoVideo {
        /// The file.
        path: PathBuf,
    },
    /// ffmpeg recognises the file as something that is not read here, such as a playlist of other
    /// files.
    #[error("{}: files of the format {format} are not read as videos", path.display())]
    UnreadFormat {
        /// The file.
        path: PathBuf,
        /// ffmpeg's name of the format.
        format: String,
    },
    /// The file is a video without a single frame.
    #[error("{}: no video frames", path.display())]
    NoFrames {
        /// The file.
        path: PathBuf,
    },
    /// A file, a folder or a pipe could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// The disk is full. Nothing of the output is left behind.
    #[error("no space left on the disk, needed for {}", path.display())]
    NoSpace {
        /// The output that was being written.
        path: PathBuf,
    },
    /// A GIF or image file is damaged, truncated or of an unsupported kind.
    #[error("{}: cannot decode: {message}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        message: String,
    },
    /// A frame is larger than the limit.
    #[error(
        "{}: {width}x{height} is too large, at most {} pixels a side and {} in all are read",
        path.display(), crate::limits::MAX_SIDE, crate::limits::MAX_PIXELS
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
    },
    /// An animation has more frames than a file of its size may have.
    #[error(
        "{}: too many frames for so small a file, at most {} pixels in all and {} for each byte of \
         the file are read",
        path.display(), crate::limits::ANIMATION_PIXELS, crate::limits::ANIMATION_PIXELS_A_BYTE
    )]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A file in a folder of frames is an animation.
    #[error(
        "{}: an animation in a folder of frames, which may have only still pictures; it counts as \
         a separate video",
        path.display()
    )]
    AnimationAmongFrames {
        /// The file.
        path: PathBuf,
    },
    /// The order of frames is ambiguous: it depends on the meaning of a point between digits.
    #[error(
        "{}: the order of the frames is ambiguous: {first:?} or {other:?} may come first; number \
         them with leading zeros and without decimal points",
        path.display()
    )]
    UnclearOrder {
        /// The folder.
        path: PathBuf,
        /// The first name that differs, if a point separates two numbers.
        first: String,
        /// The name at its position if it is a decimal point.
        other: String,
    },
    /// Two images of a folder differ in size.
    #[error(
        "all frames of a video must have the same size, but {} is {}x{} and {} is {}x{}",
        first.display(), first_size.0, first_size.1, other.display(), other_size.0, other_size.1
    )]
    MixedSizes {
        /// The first image of the folder.
        first: PathBuf,
        /// Its width and height.
        first_size: (usize, usize),
        /// The image that differs.
        other: PathBuf,
        /// Its width and height.
        other_size: (usize, usize),
    },
    /// A frame, read from a file or passed to a writer, has another size than the first one.
    #[error(
        "{}: all frames of a video must have the same size, but frame {index} is {}x{}, not {}x{}",
        path.display(), found.0, found.1, expected.0, expected.1
    )]
    FrameSize {
        /// The video.
        path: PathBuf,
        /// The frame, from 0.
        index: usize,
        /// Width and height of the first frame.
        expected: (usize, usize),
        /// Width and height of this frame.
        found: (usize, usize),
    },
    /// ffmpeg could not be started, or is not a working ffmpeg.
    #[error(
        "{}: reading this file needs ffmpeg, but {program:?} cannot be run ({source}): install \
         ffmpeg or set AR_FFMPEG to its path",
        path.display()
    )]
    FfmpegMissing {
        /// The file that was to be read.
        path: PathBuf,
        /// The program that was tried.
        program: OsString,
        /// The error from the system.
        source: io::Error,
    },
    /// ffmpeg could not decode the file, or not all of it.
    #[error("{}: ffmpeg cannot decode this file: {message}", path.display())]
    Ffmpeg {
        /// The file.
        path: PathBuf,
        /// The most informative line that ffmpeg printed.
        message: String,
    },
    /// Somebody ended ffmpeg while it read the file: a signal to all processes of a terminal, a
    /// batch system, or the kernel because memory ran out.
    #[error("{}: ffmpeg was stopped ({status}) while it read this file", path.display())]
    FfmpegEnded {
        /// The file.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The system has no processes, threads, open files or memory left for ffmpeg.
    #[error(
        "{}: the system refuses what ffmpeg needs to read this file ({message}): raise the limits \
         on processes, open files and memory (`ulimit -u`, `-n`, `-v`), or use fewer data.workers",
        path.display()
    )]
    FfmpegRefused {
        /// The file that was to be read.
        path: PathBuf,
        /// The error from the system.
        message: String,
    },
    /// The reader was asked to stop ([`Ffmpeg::with_interrupt`](crate::Ffmpeg::with_interrupt)).
    #[error("{}: interrupted", path.display())]
    Interrupted {
        /// The file.
        path: PathBuf,
    },
    /// ffmpeg is too old for the options used here.
    #[error("{}: ffmpeg 5.1 or newer is needed, the one found says: {message}", path.display())]
    FfmpegTooOld {
        /// The file that was to be read.
        path: PathBuf,
        /// The first line that ffmpeg printed.
        message: String,
    },
    /// ffmpeg sent nothing for too long.
    #[error("{}: ffmpeg sent no frame for {seconds} seconds", path.display())]
    TimedOut {
        /// The file.
        path: PathBuf,
        /// How long the wait was.
        seconds: u64,
    },
    /// No format has this name.
    #[error("unknown video format {name:?}, expected mp4, gif, apng, png or raw")]
    UnknownFormat {
        /// The name.
        name: String,
    },
    /// The format starts with something that is known only at the end.
    #[error("{format} cannot be streamed and needs a file; mp4 and raw can be streamed")]
    NoStream {
        /// The format.
        format: crate::VideoFormat,
    },
    /// The frame rate cannot be written.
    #[error("a frame rate of {fps} frames per second is not between 0.01 and 1000")]
    FrameRate {
        /// The frame rate.
        fps: f64,
    },
    /// The format does not support frames of this size.
    #[error("{}: {format} cannot hold frames of {width}x{height} pixels, at most {limit}",
        path.display())]
    UnsupportedSize {
        /// The output.
        path: PathBuf,
        /// The format.
        format: crate::VideoFormat,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// A description of the largest size.
        limit: &'static str,
    },
    /// The encoder refused a frame, or the writer was used after an error.
    #[error("{}: cannot encode: {message}", path.display())]
    Encode {
        /// The output.
        path: PathBuf,
        /// The encoder's error.
        message: String,
    },
    /// The writer was finished before a frame was written.
    #[error("{}: a video needs at least one frame, but none was written", path.display())]
    NothingWritten {
        /// The output.
        path: PathBuf,
    },
}

impl VideoError {
    /// Whether the cause is not the video but the environment: ffmpeg is missing, was killed or
    /// does not answer, the system is out of processes or open files, or the disk fails. The same
    /// video may be readable at another time.
    pub fn is_environment(&self) -> bool {
        match self {
            Self::FfmpegMissing { .. }
            | Self::FfmpegTooOld { .. }
            | Self::FfmpegEnded { .. }
            | Self::FfmpegRefused { .. }
            | Self::TimedOut { .. }
            | Self::NoSpace { .. }
            | Self::Interrupted { .. } => true,
            Self::Io { source, .. } => ar_files::is_environment(source),
            _ => false,
        }
    }

    /// An I/O error at `path`; a full disk has its own variant.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io { path, source },
        }
    }

    pub(crate) fn decode(path: &Path, message: impl ToString) -> Self {
        Self::Decode {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }

    pub(crate) fn encode(path: &Path, message: impl ToString) -> Self {
        Self::Encode {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}
