use std::iter::repeat_n;

use crate::{Clip, Frame};

/// How pictures of the same size are combined into one, row by row.
///
/// ```
/// use ar_video::{Frame, Tiles};
///
/// let grey = |level: u8| Frame::new(8, 8, vec![level; 8 * 8 * 3]);
/// let [a, b, c] = [10, 20, 30].map(grey);
/// let picture = Tiles::in_columns(2).picture(&[&a, &b, &c]);
/// assert_eq!(picture.size(), (16, 16));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Pictures per row.
    pub columns: usize,
    /// Pixels between two pictures.
    pub gap: usize,
    /// Colour between the pictures, and in the rest of the last row.
    pub background: [u8; 3],
    /// Side of the square that each pixel becomes.
    pub scale: usize,
}

impl Tiles {
    /// Pictures at their size, edge to edge on black.
    pub fn in_columns(columns: usize) -> Self {
        Self {
            columns,
            gap: 0,
            background: [0; 3],
            scale: 1,
        }
    }

    /// With white lines between the pictures.
    #[must_use]
    pub fn with_white_gap(self, pixels: usize) -> Self {
        Self {
            gap: pixels,
            background: [255; 3],
            ..self
        }
    }

    /// With each pixel enlarged to a square of side `scale`.
    #[must_use]
    pub fn with_scale(self, scale: usize) -> Self {
        Self { scale, ..self }
    }

    /// Combines several pictures into one.
    ///
    /// # Panics
    /// If there are no frames, frames have different sizes, or columns or scale are 0.
    pub fn picture(&self, frames: &[&Frame]) -> Frame {
        assert!(self.columns > 0 && self.scale > 0, "{self:?}");
        let (width, height) = frames.first().expect("a picture of frames").size();
        let rows = frames.len().div_ceil(self.columns);
        let (step_x, step_y) = (
            width * self.scale + self.gap,
            height * self.scale + self.gap,
        );
        let full_width = self.columns * step_x - self.gap;
        let full_height = rows * step_y - self.gap;
        let mut rgb = self.background.repeat(full_width * full_height);
        for (place, frame) in frames.iter().enumerate() {
            assert_eq!(frame.size(), (width, height), "frames of one size");
            let (row, column) = (place / self.columns, place % self.columns);
            for (y, line) in frame.rgb().chunks_exact(3 * width).enumerate() {
                let scaled = |pixel| repeat_n(pixel, self.scale).flatten().copied();
                let scaled: Vec<u8> = line.chunks_exact(3).flat_map(scaled).collect();
                for copy in 0..self.scale {
                    let top = row * step_y + y * self.scale + copy;
                    let start = 3 * (top * full_width + column * step_x);
                    rgb[start..start + scaled.len()].copy_from_slice(&scaled);
                }
            }
        }
        Frame::new(full_width, full_height, rgb)
    }

    /// Clips that play side by side.
    ///
    /// # Panics
    /// As for [`picture`](Self::picture), or if clips have different lengths.
    pub fn clip(&self, clips: &[&[Frame]]) -> Clip {
        let length = clips.first().expect("a picture of clips").len();
        for clip in clips {
            assert_eq!(clip.len(), length, "clips of one length");
        }
        let picture = |index: usize| {
            let frames: Vec<&Frame> = clips.iter().map(|clip| &clip[index]).collect();
            self.picture(&frames)
        };
        Clip::new((0..length).map(picture).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(level: u8, size: (usize, usize)) -> Frame {
        Frame::new(size.0, size.1, vec![level; size.0 * size.1 * 3])
    }

    fn levels(picture: &Frame) -> Vec<u8> {
        picture.rgb().iter().step_by(3).copied().collect()
    }

    #[test]
    fn frames_are_tiled_row_by_row() {
        let frames = [1, 2, 3].map(|level| grey(level, (1, 2)));
        let picture = Tiles::in_columns(2).picture(&frames.iter().collect::<Vec<_>>());
        assert_eq!(picture.size(), (2, 4));
        assert_eq!(levels(&picture), [1, 2, 1, 2, 3, 0, 3, 0]);
    }

    #[test]
    fn tiles_are_scaled_and_parted() {
        let frames = [1, 2].map(|level| grey(level, (1, 1)));
        let tiles = Tiles::in_columns(2).with_white_gap(3).with_scale(2);
        let picture = tiles.picture(&frames.iter().collect::<Vec<_>>());
        assert_eq!(picture.size(), (7, 2));
        assert_eq!(levels(&picture), [1, 1, 255, 255, 255, 2, 2].repeat(2));
    }

    #[test]
    fn clips_play_together() {
        let clips = [[1, 2], [3, 4]].map(|clip| clip.map(|level| grey(level, (1, 1))));
        let together = Tiles::in_columns(1)
            .with_white_gap(4)
            .clip(&[&clips[0], &clips[1]]);
        let second = &together.frames()[1];
        assert_eq!(second.size(), (1, 6));
        assert_eq!((second.rgb()[0], second.rgb()[15]), (2, 4));
    }
}
