//! Pictures and videos that show the progress of training.

use std::path::Path;

use ar_video::{Frame, Tiles, VideoError, VideoFormat, write_clip};

/// Writes clips of the same length and size side by side, `columns` per row: a PNG file if they are
/// single frames, otherwise an MP4 file.
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If there are no clips, or lengths or sizes differ.
pub(crate) fn write(
    path: &Path,
    clips: &[&[Frame]],
    columns: usize,
    fps: f64,
) -> Result<(), VideoError> {
    let length = clips[0].len();
    let clip = Tiles::in_columns(columns).clip(clips);
    let (extension, format) = match length {
        // An animation with one frame is an ordinary PNG file.
        1 => ("png", VideoFormat::Apng),
        _ => ("mp4", VideoFormat::Mp4),
    };
    write_clip(path.with_extension(extension), &clip, format, fps)
}
