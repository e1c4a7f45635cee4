//! Pictures put together from frames.

use ar_video::{Clip, Frame};

/// Pixels between tiles, and their level.
const GAP: usize = 4;
const BETWEEN: u8 = 255;

/// One picture of rows of frames, all of one size, each pixel `scale` x `scale`.
///
/// # Panics
/// If there are no frames, rows differ in length or frames in size.
pub fn grid(rows: &[Vec<&Frame>], scale: usize) -> Frame {
    let (width, height) = rows[0][0].size();
    let columns = rows[0].len();
    let [full_width, full_height] = [(columns, width), (rows.len(), height)]
        .map(|(count, side)| count * (side * scale + GAP) - GAP);
    let mut rgb = vec![BETWEEN; full_width * full_height * 3];
    for (row, frames) in rows.iter().enumerate() {
        assert_eq!(frames.len(), columns, "rows of one length");
        for (column, frame) in frames.iter().enumerate() {
            assert_eq!(frame.size(), (width, height), "frames of one size");
            let left = column * (width * scale + GAP);
            let top = row * (height * scale + GAP);
            for y in 0..height * scale {
                for x in 0..width * scale {
                    let from = (y / scale * width + x / scale) * 3;
                    let to = ((top + y) * full_width + left + x) * 3;
                    rgb[to..to + 3].copy_from_slice(&frame.rgb()[from..from + 3]);
                }
            }
        }
    }
    Frame::new(full_width, full_height, rgb)
}

/// Clips that play side by side, in rows.
///
/// # Panics
/// As [`grid`], or if clips differ in length.
pub fn side_by_side(rows: &[&[Clip]], scale: usize) -> Clip {
    let frame = |index: usize| {
        let of_row = |row: &&[Clip]| -> Vec<Frame> {
            row.iter()
                .map(|clip| clip.frames()[index].clone())
                .collect()
        };
        let frames: Vec<Vec<Frame>> = rows.iter().map(of_row).collect();
        let rows: Vec<Vec<&Frame>> = frames.iter().map(|row| row.iter().collect()).collect();
        grid(&rows, scale)
    };
    Clip::new((0..rows[0][0].frames().len()).map(frame).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(level: u8) -> Frame {
        Frame::new(1, 1, vec![level; 3])
    }

    #[test]
    fn tiles_are_scaled_and_parted() {
        let frames = [1, 2].map(grey);
        let picture = grid(&[frames.iter().collect()], 2);
        assert_eq!(picture.size(), (8, 2));
        let row = [1, 1, 255, 255, 255, 255, 2, 2]
            .map(|level| [level; 3])
            .concat();
        assert_eq!(picture.rgb(), [row.clone(), row].concat());
    }

    #[test]
    fn clips_play_together() {
        let clips = [[1, 2], [3, 4]].map(|levels| Clip::new(levels.map(grey).into()));
        let together = side_by_side(&[&clips[..1], &clips[1..]], 1);
        let second = &together.frames()[1];
        assert_eq!(second.size(), (1, 6));
        assert_eq!((second.rgb()[0], second.rgb()[15]), (2, 4));
    }
}
