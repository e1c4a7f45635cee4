//! RGB to YUV 4:2:0 (BT.601, limited range), as video encoders expect it.

use openh264::formats::YUVSource;

use crate::Frame;

/// The three planes of a picture; U and V have half its width and height.
pub(super) struct Yuv {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl Yuv {
    /// Converts a frame, padded to `width` x `height` (even, not smaller than the frame) by
    /// repeating its last column and row.
    pub(super) fn new(frame: &Frame, width: usize, height: usize) -> Self {
        assert!(width.is_multiple_of(2) && height.is_multiple_of(2));
        assert!(width >= frame.width() && height >= frame.height());
        let pixels = width * height;
        let mut yuv = Self {
            width,
            height,
            y: Vec::with_capacity(pixels),
            u: Vec::with_capacity(pixels / 4),
            v: Vec::with_capacity(pixels / 4),
        };
        let pixel = |x: usize, y: usize| -> [u32; 3] {
            let (x, y) = (x.min(frame.width() - 1), y.min(frame.height() - 1));
            let at = (y * frame.width() + x) * 3;
            [0, 1, 2].map(|channel| frame.rgb()[at + channel].into())
        };
        for row in 0..height {
            yuv.y
                .extend((0..width).map(|column| luma(pixel(column, row))));
        }
        for row in (0..height).step_by(2) {
            for column in (0..width).step_by(2) {
                let square =
                    [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| pixel(column + x, row + y));
                let sum = [0, 1, 2].map(|channel| square.iter().map(|p| p[channel]).sum());
                let (u, v) = chroma(sum);
                yuv.u.push(u);
                yuv.v.push(v);
            }
        }
        yuv
    }
}

/// Y' = 16 + 219 (0.299 R + 0.587 G + 0.114 B), in 1/65536.
fn luma([r, g, b]: [u32; 3]) -> u8 {
    ((16_829 * r + 33_039 * g + 6_416 * b + (16 << 16) + (1 << 15)) >> 16) as u8
}

/// Cb = 128 + 224 / 1.772 (B - Y) and Cr = 128 + 224 / 1.402 (R - Y) of four summed pixels.
fn chroma(sum: [u32; 3]) -> (u8, u8) {
    let [r, g, b] = sum.map(|c| c as i32);
    let scale = |weighted: i32| ((weighted + (128 << 18) + (1 << 17)) >> 18) as u8;
    (
        scale(-9_714 * r - 19_070 * g + 28_784 * b),
        scale(28_784 * r - 24_103 * g - 4_681 * b),
    )
}

impl YUVSource for Yuv {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.y
    }

    fn u(&self) -> &[u8] {
        &self.u
    }

    fn v(&self) -> &[u8] {
        &self.v
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The YUV values of a flat colour, from the definition of BT.601 in floating point.
    fn bt601([r, g, b]: [u8; 3]) -> [u8; 3] {
        let [r, g, b] = [r, g, b].map(|c| f64::from(c) / 255.0);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        let values = [
            16.0 + 219.0 * y,
            128.0 + 224.0 / 1.772 * (b - y),
            128.0 + 224.0 / 1.402 * (r - y),
        ];
        values.map(|value| value.round() as u8)
    }

    #[test]
    fn colours_are_those_of_bt601() {
        let levels = [0, 1, 17, 64, 100, 128, 200, 254, 255];
        for i in 0..9 * 9 * 9 {
            let colour = [levels[i / 81], levels[i / 9 % 9], levels[i % 9]];
            let yuv = Yuv::new(&Frame::new(2, 2, colour.repeat(4)), 2, 2);
            let expected = bt601(colour);
            // The fixed-point weights may round a value within 1/1000 of a half the other way.
            for (found, expected) in [yuv.y[3], yuv.u[0], yuv.v[0]].into_iter().zip(expected) {
                assert!(
                    found.abs_diff(expected) <= 1,
                    "{colour:?}: {found} {expected}"
                );
            }
        }
        assert_eq!(bt601([255; 3]), [235, 128, 128]);
        let red = Yuv::new(&Frame::new(1, 1, vec![255, 0, 0]), 2, 2);
        assert_eq!((red.y, red.u, red.v), (vec![81; 4], vec![90], vec![240]));
    }

    #[test]
    fn padding_repeats_the_edge() {
        let frame = Frame::new(3, 1, vec![0, 0, 0, 0, 0, 0, 255, 255, 255]);
        let yuv = Yuv::new(&frame, 6, 2);
        assert_eq!(yuv.y, [16, 16, 235, 235, 235, 235].repeat(2));
        assert_eq!((yuv.u, yuv.v), (vec![128; 3], vec![128; 3]));
    }
}
