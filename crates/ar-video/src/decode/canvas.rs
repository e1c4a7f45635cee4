//! Composition of animations whose frames are patches over previous frames (GIF, APNG).

use crate::Frame;

/// A rectangle of new pixels, which may extend past the edge of the canvas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
    /// Whether previous pixels show through transparent ones; otherwise they are replaced.
    pub over: bool,
    pub disposal: Disposal,
}

/// What happens to a patch before the next one is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Disposal {
    Keep,
    /// Its rectangle becomes transparent.
    Clear,
    /// The previous picture is restored.
    Restore,
}

/// The picture so far, blended over black. Transparent and black pixels are the same here.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    last: Option<Patch>,
    /// The picture before the last patch, if it has to be restored.
    before: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            rgb: vec![0; width * height * 3],
            last: None,
            before: Vec::new(),
        }
    }

    /// Disposes of the last patch and draws `rgba`, rows of `stride` bytes, over the rest.
    pub(super) fn draw(&mut self, patch: Patch, rgba: &[u8], stride: usize) -> Frame {
        match self.last.replace(patch) {
            Some(Patch {
                disposal: Disposal::Restore,
                ..
            }) => {
                self.rgb = std::mem::take(&mut self.before);
            }
            Some(
                last @ Patch {
                    disposal: Disposal::Clear,
                    ..
                },
            ) => {
                for y in 0..self.rows(&last) {
                    self.row(&last, y).fill(0);
                }
            }
            _ => {}
        }
        if matches!(patch.disposal, Disposal::Restore) {
            self.before.clone_from(&self.rgb);
        }
        let rows = self.rows(&patch);
        for (y, source) in rgba.chunks(stride.max(1)).take(rows).enumerate() {
            let row = self.row(&patch, y);
            for (to, from) in row.chunks_exact_mut(3).zip(source.chunks_exact(4)) {
                let under = if patch.over {
                    255 - u16::from(from[3])
                } else {
                    0
                };
                for (to, &from_colour) in to.iter_mut().zip(from) {
                    let sum = u16::from(from_colour) * u16::from(from[3]) + u16::from(*to) * under;
                    *to = ((sum + 127) / 255) as u8;
                }
            }
        }
        Frame::new(self.width, self.height, self.rgb.clone())
    }

    /// How many rows of a patch are on the canvas.
    fn rows(&self, patch: &Patch) -> usize {
        patch.height.min(self.height.saturating_sub(patch.top))
    }

    /// The pixels under row `y` of a patch.
    fn row(&mut self, patch: &Patch, y: usize) -> &mut [u8] {
        let left = patch.left.min(self.width);
        let right = (patch.left + patch.width).min(self.width);
        let row = (patch.top + y) * self.width;
        &mut self.rgb[(row + left) * 3..(row + right) * 3]
    }
}

#[cfg(test)]
mod tests {
    use super::Disposal::{Clear, Keep, Restore};
    use super::*;

    const RED: [u8; 4] = [255, 0, 0, 255];
    const GREEN: [u8; 4] = [0, 255, 0, 255];
    const NONE: [u8; 4] = [255, 255, 255, 0];

    /// The 4x1 picture after each patch, as letters.
    fn draw(patches: &[(usize, &[[u8; 4]], bool, Disposal)]) -> Vec<String> {
        let mut canvas = Canvas::new(4, 1);
        let letter = |rgb: &[u8]| match rgb {
            [255, 0, 0] => 'r',
            [0, 255, 0] => 'g',
            [0, 0, 0] => '.',
            _ => '?',
        };
        let mut pictures = Vec::new();
        for &(left, pixels, over, disposal) in patches {
            let width = pixels.len();
            let patch = Patch {
                left,
                top: 0,
                width,
                height: 1,
                over,
                disposal,
            };
            let frame = canvas.draw(patch, pixels.as_flattened(), width * 4);
            pictures.push(frame.rgb().chunks(3).map(letter).collect());
        }
        pictures
    }

    #[test]
    fn disposal_and_transparency() {
        let pictures = draw(&[
            (0, &[RED, RED, RED, NONE], true, Keep),
            (1, &[GREEN, NONE], true, Restore),
            (2, &[GREEN, GREEN], true, Clear),
            (3, &[RED], true, Keep),
            (0, &[NONE, GREEN], true, Keep),
            (0, &[NONE], false, Keep),
        ]);
        assert_eq!(pictures, ["rrr.", "rgr.", "rrgg", "rr.r", "rg.r", ".g.r"]);
    }

    #[test]
    fn patches_over_the_edge_are_cut() {
        let pictures = draw(&[
            (2, &[RED, GREEN, RED], true, Clear),
            (9, &[RED], true, Clear),
            (3, &[GREEN, GREEN], true, Keep),
            (0, &[], true, Restore),
        ]);
        assert_eq!(pictures, ["..rg", "....", "...g", "...g"]);
    }

    #[test]
    fn half_transparent_pixels_blend() {
        let mut canvas = Canvas::new(1, 1);
        let patch = Patch {
            left: 0,
            top: 0,
            width: 1,
            height: 1,
            over: true,
            disposal: Keep,
        };
        assert_eq!(canvas.draw(patch, &[255, 100, 0, 51], 4).rgb(), [51, 20, 0]);
        // 51 * 0.8 + 255 * 0.2, and so on.
        assert_eq!(
            canvas.draw(patch, &[255, 0, 255, 51], 4).rgb(),
            [92, 16, 51]
        );
    }
}
