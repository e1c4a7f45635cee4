use ar_video::Frame;

/// Peak signal-to-noise ratio in decibels, `10 log10(255² / MSE)`; infinite for equal videos.
///
/// The mean squared error is over all frames, pixels and channels together, so this is not the mean
/// of the frames' ratios.
///
/// # Panics
/// If there are no frames, or lengths or sizes differ.
pub fn psnr(a: &[Frame], b: &[Frame]) -> f64 {
    let mut sum = PsnrSum::default();
    sum.add(a, b);
    sum.psnr()
}

/// The [`psnr`] of videos that arrive in parts.
#[derive(Clone, Copy, Debug, Default)]
pub struct PsnrSum {
    squares: u64,
    values: u64,
}

impl PsnrSum {
    /// Adds frames and their counterparts.
    ///
    /// # Panics
    /// If there are no frames, or lengths or sizes differ.
    pub fn add(&mut self, a: &[Frame], b: &[Frame]) {
        crate::assert_comparable(a, b);
        for (a, b) in a.iter().zip(b) {
            let differences = a.rgb().iter().zip(b.rgb()).map(|(&a, &b)| a.abs_diff(b));
            self.squares += differences.map(|d| u64::from(d).pow(2)).sum::<u64>();
            self.values += a.rgb().len() as u64;
        }
    }

    /// The ratio over all of them; NaN if there are none.
    pub fn psnr(&self) -> f64 {
        10.0 * (255.0_f64.powi(2) * self.values as f64 / self.squares as f64).log10()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(rgb: [u8; 6]) -> Frame {
        Frame::new(2, 1, rgb.to_vec())
    }

    #[test]
    fn of_a_hand_computed_error() {
        let (a, b) = (
            frame([0, 10, 20, 30, 40, 50]),
            frame([1, 10, 18, 30, 44, 50]),
        );
        // MSE = (1 + 4 + 16) / 6 = 3.5
        let expected = 10.0 * (255.0_f64 * 255.0 / 3.5).log10();
        assert!(
            (psnr(std::slice::from_ref(&a), std::slice::from_ref(&b)) - expected).abs() < 1e-12
        );
        // A second frame without error halves the mean: 3.01 dB more.
        let halved = psnr(&[a.clone(), a.clone()], &[b, a]);
        assert!((halved - expected - 10.0 * 2.0_f64.log10()).abs() < 1e-12);
    }

    #[test]
    fn black_against_white_is_zero() {
        assert_eq!(psnr(&[frame([0; 6])], &[frame([255; 6])]), 0.0);
        assert_eq!(psnr(&[frame([9; 6])], &[frame([9; 6])]), f64::INFINITY);
    }

    #[test]
    #[should_panic(expected = "one length")]
    fn lengths_differ() {
        psnr(&[frame([0; 6])], &[frame([0; 6]), frame([0; 6])]);
    }
}
