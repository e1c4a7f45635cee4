//! Pictures and videos of how training is getting on.

use std::path::Path;

use ar_video::{Frame, Tiles, VideoError, VideoFormat, write_clip};

/// Writes clips of one length and size side by side, `columns` to a row: a PNG file if they are
/// single frames, else an MP4 file.
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If there is no clip, or lengths or sizes differ.
pub(crate) fn write(
    path: &Path,
    clips: &[&[Frame]],
    columns: usize,
    fps: f64,
) -> Result<(), VideoError> {
    let length = clips[0].len();
    let clip = Tiles::in_columns(columns).clip(clips);
    let (extension, format) = match length {
        // An animation of one frame is a PNG file like any other.
        1 => ("png", VideoFormat::Apng),
        _ => ("mp4", VideoFormat::Mp4),
    };
    write_clip(path.with_extension(extension), &clip, format, fps)
}
