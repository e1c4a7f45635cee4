use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb};

use crate::Frame;

/// The published preprocessing: the short side is resized to `size` (bicubic, antialiased), then
/// the centre `size` x `size` is cropped. A frame that already has this size is copied.
///
/// Sizes and offsets are rounded like torchvision's `Resize` and `CenterCrop`.
///
/// # Panics
/// If `size` is 0.
pub fn square_crop(frame: &Frame, size: usize) -> Frame {
    assert!(size > 0, "a frame has at least one pixel");
    let (width, height) = frame.size();
    if width.min(height) == size {
        return centre_crop(frame.rgb(), width, height, size);
    }
    let (new_width, new_height) = resized(width, height, size);
    let picture = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width as u32, height as u32, frame.rgb())
        .expect("a frame has width * height RGB pixels");
    let resized = imageops::resize(
        &picture,
        new_width as u32,
        new_height as u32,
        FilterType::CatmullRom,
    );
    centre_crop(resized.as_raw(), new_width, new_height, size)
}

/// The frame, mirrored left to right.
pub fn mirrored(frame: &Frame) -> Frame {
    let (width, height) = frame.size();
    let rows = frame.rgb().chunks_exact(width * 3);
    let rgb = rows.flat_map(|row| row.chunks_exact(3).rev().flatten());
    Frame::new(width, height, rgb.copied().collect())
}

/// How a frame is enlarged by an integer factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enlargement {
    /// Factor for width and height; at least 1, which changes nothing.
    pub factor: usize,
    /// How the new pixels are computed.
    pub interpolation: Interpolation,
}

/// How the pixels of an enlarged frame are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interpolation {
    /// A Lanczos filter with three lobes: smooth edges.
    #[default]
    Lanczos,
    /// The nearest pixel of the frame: every pixel becomes a square.
    Nearest,
}

impl Enlargement {
    /// The largest factor.
    pub const MOST: usize = 64;

    /// No enlargement.
    pub const NONE: Self = Self {
        factor: 1,
        interpolation: Interpolation::Lanczos,
    };

    /// The enlarged frame.
    ///
    /// # Panics
    /// If the factor is 0.
    pub fn apply(self, frame: &Frame) -> Frame {
        assert!(self.factor > 0, "a frame has at least one pixel");
        let (width, height) = frame.size();
        let picture =
            ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width as u32, height as u32, frame.rgb())
                .expect("a frame has width * height RGB pixels");
        let filter = match self.interpolation {
            Interpolation::Lanczos => FilterType::Lanczos3,
            Interpolation::Nearest => FilterType::Nearest,
        };
        let (width, height) = (width * self.factor, height * self.factor);
        let enlarged = imageops::resize(&picture, width as u32, height as u32, filter);
        Frame::new(width, height, enlarged.into_raw())
    }
}

impl Default for Enlargement {
    fn default() -> Self {
        Self::NONE
    }
}

/// The size with a short side of `size`; the long side is rounded down.
fn resized(width: usize, height: usize, size: usize) -> (usize, usize) {
    if width <= height {
        (size, size * height / width)
    } else {
        (size * width / height, size)
    }
}

fn centre_crop(rgb: &[u8], width: usize, height: usize, size: usize) -> Frame {
    let (left, top) = (centre_offset(width, size), centre_offset(height, size));
    let cropped = rgb
        .chunks_exact(width * 3)
        .skip(top)
        .take(size)
        .flat_map(|row| &row[left * 3..(left + size) * 3])
        .copied()
        .collect();
    Frame::new(size, size, cropped)
}

/// `(length - size) / 2`, halves rounded to even as Python's `round` does.
fn centre_offset(length: usize, size: usize) -> usize {
    let margin = length - size;
    margin / 2 + usize::from(margin % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_size_is_copied() {
        let frame = Frame::new(2, 2, (0..12).collect());
        assert_eq!(square_crop(&frame, 2), frame);
    }

    #[test]
    fn enlarged_pixels_are_squares_or_smooth() {
        let frame = Frame::new(2, 1, vec![10, 10, 10, 200, 200, 200]);
        let enlarged = |interpolation| {
            let enlargement = Enlargement {
                factor: 3,
                interpolation,
            };
            let frame = enlargement.apply(&frame);
            assert_eq!(frame.size(), (6, 3));
            let row: Vec<u8> = frame.rgb()[..18].iter().step_by(3).copied().collect();
            row
        };
        assert_eq!(
            enlarged(Interpolation::Nearest),
            [10, 10, 10, 200, 200, 200]
        );
        let smooth = enlarged(Interpolation::Lanczos);
        assert!(
            smooth.is_sorted() && (10 < smooth[2] && smooth[3] < 200),
            "{smooth:?}"
        );
        assert_eq!(Enlargement::NONE.apply(&frame), frame);
    }

    #[test]
    fn a_mirrored_frame_keeps_its_rows() {
        let frame = Frame::new(2, 2, (0..12).collect());
        assert_eq!(
            mirrored(&frame).rgb(),
            [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
        );
        assert_eq!(mirrored(&mirrored(&frame)), frame);
    }

    #[test]
    fn a_crop_without_resize_takes_the_centre() {
        let frame = Frame::new(5, 1, (0..15).collect());
        assert_eq!(square_crop(&frame, 1).rgb(), [6, 7, 8]);
        let frame = Frame::new(1, 4, (0..12).collect());
        // (4 - 1) / 2 = 1.5, which rounds to 2.
        assert_eq!(square_crop(&frame, 1).rgb(), [6, 7, 8]);
    }

    #[test]
    fn sizes_are_those_of_torchvision() {
        assert_eq!(resized(320, 240, 256), (341, 256));
        assert_eq!(resized(240, 320, 64), (64, 85));
        assert_eq!(resized(960, 540, 256), (455, 256));
        // round(85 / 2) is 42, round(199 / 2) is 100.
        assert_eq!(centre_offset(341, 256), 42);
        assert_eq!(centre_offset(455, 256), 100);
    }

    #[test]
    fn a_flat_colour_stays_flat() {
        let frame = Frame::new(37, 23, [10, 200, 90].repeat(37 * 23));
        for size in [1, 8, 23, 64] {
            assert_eq!(
                square_crop(&frame, size).rgb(),
                [10, 200, 90].repeat(size * size)
            );
        }
    }

    #[test]
    fn a_ramp_shrinks_to_the_ramp_of_means() {
        let ramp = (0..64 * 64).flat_map(|i| [(i % 64 * 4) as u8; 3]).collect();
        let small = square_crop(&Frame::new(64, 64, ramp), 16);
        // Away from the borders, a symmetric filter preserves linear functions: pixel x is the mean
        // of 4x..4x+4.
        for x in 3..13 {
            assert_eq!(small.rgb()[(8 * 16 + x) * 3], (x * 16 + 6) as u8);
        }
    }
}
