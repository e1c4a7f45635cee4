use ar_video::Frame;

/// Side of the window of [`ssim`] in pixels, and therefore of the smallest frame that it can
/// compare.
pub const SSIM_WINDOW: usize = 11;

/// Standard deviation of the window, in pixels.
const SIGMA: f64 = 1.5;
/// `(K1 L)²` with K1 = 0.01 and L = 255.
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
/// `(K2 L)²` with K2 = 0.03 and L = 255.
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// Structural similarity (Wang et al., "Image quality assessment: from error visibility to
/// structural similarity", 2004), 1 for equal videos, and smaller the less alike they are.
///
/// With means µ, variances σ² and covariance σ_ab under a Gaussian window of 11 x 11 pixels and
/// standard deviation 1.5,
///
/// ```text
///         (2 µ_a µ_b + C1) (2 σ_ab + C2)
/// SSIM = ----------------------------------- ,  C1 = (0.01 * 255)², C2 = (0.03 * 255)²
///        (µ_a² + µ_b² + C1) (σ_a² + σ_b² + C2)
/// ```
///
/// averaged over the windows inside the frame, the three channels, and the frames.
///
/// # Panics
/// If there are no frames, lengths or sizes differ, or a side is shorter than [`SSIM_WINDOW`].
pub fn ssim(a: &[Frame], b: &[Frame]) -> f64 {
    crate::assert_comparable(a, b);
    let sum: f64 = a.iter().zip(b).map(|(a, b)| ssim_of_frame(a, b)).sum();
    sum / a.len() as f64
}

fn ssim_of_frame(a: &Frame, b: &Frame) -> f64 {
    let (width, height) = a.size();
    assert!(
        width.min(height) >= SSIM_WINDOW,
        "a frame of {width}x{height} pixels is smaller than the window of {SSIM_WINDOW}"
    );
    let window = gaussian();
    let mut sum = 0.0;
    let mut count = 0;
    for channel in 0..3 {
        let plane = |frame: &Frame| -> Vec<f64> {
            let values = frame.rgb()[channel..].iter().step_by(3);
            values.map(|&value| f64::from(value)).collect()
        };
        let (a, b) = (plane(a), plane(b));
        let mean_of = |f: fn(f64, f64) -> f64| {
            let product: Vec<f64> = a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect();
            blur(&product, width, &window)
        };
        let (mean_a, mean_b) = (mean_of(|a, _| a), mean_of(|_, b| b));
        let (aa, bb, ab) = (
            mean_of(|a, _| a * a),
            mean_of(|_, b| b * b),
            mean_of(|a, b| a * b),
        );
        for i in 0..mean_a.len() {
            let (mean_a, mean_b) = (mean_a[i], mean_b[i]);
            let var_a = aa[i] - mean_a * mean_a;
            let var_b = bb[i] - mean_b * mean_b;
            let covariance = ab[i] - mean_a * mean_b;
            sum += (2.0 * mean_a * mean_b + C1) * (2.0 * covariance + C2)
                / ((mean_a * mean_a + mean_b * mean_b + C1) * (var_a + var_b + C2));
        }
        count += mean_a.len();
    }
    sum / count as f64
}

/// The window along one axis; it sums to 1.
fn gaussian() -> [f64; SSIM_WINDOW] {
    let centre = (SSIM_WINDOW / 2) as f64;
    let weights: [f64; SSIM_WINDOW] =
        std::array::from_fn(|i| (-(i as f64 - centre).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// Weighted means of the windows inside a plane of `width` columns, rows first.
fn blur(plane: &[f64], width: usize, window: &[f64; SSIM_WINDOW]) -> Vec<f64> {
    let weighted = |values: &mut dyn Iterator<Item = f64>| -> f64 {
        values
            .zip(window)
            .map(|(value, weight)| value * weight)
            .sum()
    };
    let inner = width + 1 - SSIM_WINDOW;
    let rows: Vec<f64> = plane
        .chunks_exact(width)
        .flat_map(|row| row.windows(SSIM_WINDOW))
        .map(|values| weighted(&mut values.iter().copied()))
        .collect();
    let height = plane.len() / width + 1 - SSIM_WINDOW;
    (0..height * inner)
        .map(|top| weighted(&mut rows[top..].iter().step_by(inner).copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose three channels are `value(x, y)`.
    fn frame(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> Frame {
        let pixels = (0..width * height).flat_map(|i| [value(i % width, i / width); 3]);
        Frame::new(width, height, pixels.collect())
    }

    /// Hash noise, the same on every run.
    fn noise(seed: usize) -> impl Fn(usize, usize) -> u8 {
        move |x, y| {
            let mixed = (x * 73_856_093) ^ (y * 19_349_663) ^ (seed * 83_492_791);
            (mixed.wrapping_mul(2_654_435_761) >> 13) as u8
        }
    }

    /// The definition, window by window, with a two-dimensional window.
    fn by_definition(a: &Frame, b: &Frame) -> f64 {
        let (width, height) = a.size();
        let at = |frame: &Frame, x: usize, y: usize| f64::from(frame.rgb()[(y * width + x) * 3]);
        let weight = |dx: usize, dy: usize| {
            let square = |d: usize| (d as f64 - 5.0).powi(2);
            (-(square(dx) + square(dy)) / 4.5).exp()
        };
        let cells: Vec<(usize, usize)> = (0..121).map(|i| (i % 11, i / 11)).collect();
        let total: f64 = cells.iter().map(|&(dx, dy)| weight(dx, dy)).sum();
        let mut values = Vec::new();
        for top in 0..=height - 11 {
            for left in 0..=width - 11 {
                let mean = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                    let terms = cells.iter().map(|&(dx, dy)| {
                        let (x, y) = (left + dx, top + dy);
                        weight(dx, dy) / total * f(at(a, x, y), at(b, x, y))
                    });
                    terms.sum()
                };
                let (ma, mb) = (mean(&|a, _| a), mean(&|_, b| b));
                let va = mean(&|a, _| (a - ma).powi(2));
                let vb = mean(&|_, b| (b - mb).powi(2));
                let cov = mean(&|a, b| (a - ma) * (b - mb));
                let (c1, c2) = (6.5025, 58.5225);
                values.push(
                    (2.0 * ma * mb + c1) * (2.0 * cov + c2)
                        / ((ma * ma + mb * mb + c1) * (va + vb + c2)),
                );
            }
        }
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn equals_the_definition() {
        let a = frame(17, 14, noise(1));
        let b = frame(17, 14, |x, y| noise(1)(x, y) / 2 + noise(2)(x, y) / 3);
        let expected = by_definition(&a, &b);
        assert!((0.3..0.99).contains(&expected), "{expected}");
        assert!((ssim(&[a], &[b]) - expected).abs() < 1e-9);
    }

    #[test]
    fn flat_frames_differ_in_luminance_only() {
        let (a, b) = (frame(12, 12, |_, _| 50), frame(12, 12, |_, _| 200));
        let expected = (2.0 * 50.0 * 200.0 + C1) / (50.0 * 50.0 + 200.0 * 200.0 + C1);
        assert!((ssim(&[a], &[b]) - expected).abs() < 1e-9);
    }

    #[test]
    fn properties() {
        let (a, b) = (frame(20, 16, noise(1)), frame(20, 16, noise(2)));
        let negative = frame(20, 16, |x, y| 255 - noise(1)(x, y));
        let both = |a: &Frame, b: &Frame| ssim(std::slice::from_ref(a), std::slice::from_ref(b));
        assert_eq!(both(&a, &a), 1.0);
        assert_eq!(both(&a, &b), both(&b, &a));
        assert!(both(&a, &b).abs() < 0.2, "independent noise is unrelated");
        assert!(both(&a, &negative) < -0.8, "a negative is the opposite");
        // The mean over frames.
        let mean = ssim(&[a.clone(), a.clone()], &[a.clone(), b.clone()]);
        assert!((mean - (1.0 + both(&a, &b)) / 2.0).abs() < 1e-12);
    }

    #[test]
    #[should_panic(expected = "smaller than the window")]
    fn tiny_frames() {
        let tiny = [frame(10, 30, noise(1))];
        ssim(&tiny, &tiny);
    }
}
