//! Pictures and videos of how training is getting on.

use std::path::Path;

use anyhow::Result;
use ar_video::{Clip, Frame, VideoFormat, write_clip};

/// Writes clips of one length and size side by side, `columns` to a row: a PNG file if they are
/// single frames, else an MP4 file.
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If there is no clip, or lengths or sizes differ.
pub fn write(path: &Path, clips: &[&[Frame]], columns: usize, fps: f64) -> Result<()> {
    let length = clips[0].len();
    let frames = (0..length).map(|index| {
        let frames: Vec<&Frame> = clips.iter().map(|clip| &clip[index]).collect();
        tile(&frames, columns)
    });
    let clip = Clip::new(frames.collect());
    let (extension, format) = match length {
        // An animation of one frame is a PNG file like any other.
        1 => ("png", VideoFormat::Apng),
        _ => ("mp4", VideoFormat::Mp4),
    };
    write_clip(&path.with_extension(extension), &clip, format, fps)?;
    Ok(())
}

/// One picture of several of a size, row by row; what is left of the last row is black.
fn tile(frames: &[&Frame], columns: usize) -> Frame {
    let (width, height) = frames[0].size();
    let rows = frames.len().div_ceil(columns);
    let line = 3 * width;
    let mut rgb = vec![0; rows * height * columns * line];
    for (place, frame) in frames.iter().enumerate() {
        assert_eq!(frame.size(), (width, height), "frames of one size");
        let (row, column) = (place / columns, place % columns);
        for (y, pixels) in frame.rgb().chunks_exact(line).enumerate() {
            let start = ((row * height + y) * columns + column) * line;
            rgb[start..start + line].copy_from_slice(pixels);
        }
    }
    Frame::new(columns * width, rows * height, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_tiled_row_by_row() {
        let frame = |value: u8| Frame::new(1, 2, vec![value; 6]);
        let frames = [frame(1), frame(2), frame(3)];
        let tiled = tile(&frames.iter().collect::<Vec<_>>(), 2);
        assert_eq!(tiled.size(), (2, 4));
        let red: Vec<u8> = tiled.rgb().iter().step_by(3).copied().collect();
        assert_eq!(red, [1, 2, 1, 2, 3, 0, 3, 0]);
    }
}
