//! The size of a picture in characters.

use ar_video::Frame;

/// Lines that stay free for the bar, with some to spare.
const BELOW: usize = 3;

/// Size of a picture in characters; a character is twice as high as wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cells {
    pub columns: usize,
    pub rows: usize,
}

impl Cells {
    /// The largest size that fits a terminal of `width` x `height` characters, with at most one
    /// character for every two pixels.
    pub(super) fn fit(picture: &Frame, width: usize, height: usize) -> Self {
        let (wide, high) = picture.size();
        let most_rows = height.saturating_sub(BELOW).clamp(1, high.div_ceil(2));
        let most_columns = width.saturating_sub(1).clamp(1, wide);
        // The smaller of the two limits.
        let columns = most_columns.min((2 * most_rows * wide / high).max(1));
        let rows = (columns * high).div_ceil(2 * wide).clamp(1, most_rows);
        Self { columns, rows }
    }
}

/// The picture in another size: every pixel is the mean of the pixels that it covers.
pub(super) fn resized(picture: &Frame, width: usize, height: usize) -> Frame {
    let (wide, high) = picture.size();
    let span = |at: usize, of: usize, pixels: usize| {
        let start = at * pixels / of;
        start..((at + 1) * pixels / of).max(start + 1)
    };
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let mut sum = [0; 3];
            let mut count = 0;
            for row in span(y, height, high) {
                for column in span(x, width, wide) {
                    let at = 3 * (row * wide + column);
                    for (sum, &value) in sum.iter_mut().zip(&picture.rgb()[at..at + 3]) {
                        *sum += usize::from(value);
                    }
                    count += 1;
                }
            }
            rgb.extend(sum.map(|sum| ((sum + count / 2) / count) as u8));
        }
    }
    Frame::new(width, height, rgb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_fit_the_terminal() {
        let picture = |width, height| Frame::new(width, height, vec![0; width * height * 3]);
        let fit = |picture: &Frame, width, height| {
            let Cells { columns, rows } = Cells::fit(picture, width, height);
            (columns, rows)
        };
        assert_eq!(fit(&picture(64, 64), 200, 60), (64, 32));
        assert_eq!(fit(&picture(64, 64), 80, 24), (42, 21));
        assert_eq!(fit(&picture(256, 256), 41, 60), (40, 20));
        assert_eq!(fit(&picture(262, 64), 80, 24), (79, 10));
        assert_eq!(fit(&picture(1, 1), 80, 24), (1, 1));
        assert_eq!(fit(&picture(64, 64), 0, 0), (1, 1));
    }

    #[test]
    fn smaller_pictures_are_means() {
        let rgb = vec![0, 10, 20, 100, 110, 120, 50, 60, 70, 250, 0, 30];
        let picture = Frame::new(2, 2, rgb);
        assert_eq!(resized(&picture, 1, 1).rgb(), [100, 45, 60]);
        assert_eq!(resized(&picture, 2, 2), picture);
        let wide = resized(&picture, 4, 2);
        assert_eq!(
            wide.rgb()[..12],
            [0, 10, 20, 0, 10, 20, 100, 110, 120, 100, 110, 120]
        );
    }
}
