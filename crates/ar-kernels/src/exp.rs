//! The exponential and other functions, written so that compilers vectorise them.

/// `e^x`, within 2 units in the last place. It is 0 below the smallest normal number, and stays
/// finite above the largest.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to the nearest integer, which is then in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first exact in few bits, so that x - n ln 2 keeps its precision.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let bounded = x.clamp(-87.0, 88.0);
    let rounded = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = bounded - n * LN_2_HIGH - n * LN_2_LOW;
    // The minimax polynomial of Cephes' expf on [-ln 2 / 2, ln 2 / 2].
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let mantissa = p * r * r + r + 1.0;
    let power_of_2 = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 {
        0.0
    } else {
        mantissa * power_of_2
    }
}

/// The logistic function `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, within 2e-7. Both branches are computed, because vectors have no branches.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let (t, square) = (x.abs(), x * x);
    // The minimax polynomial of erf(x) / x - 1 in x^2 near 0.
    let mut near = -5.967_617e-4;
    near = near * square + 4.991_194_2e-3;
    near = near * square - 2.676_813_5e-2;
    near = near * square + 1.128_199_25e-1;
    near = near * square - 3.761_253_3e-1;
    near = near * square + 1.283_791_7e-1;
    let near = near * x + x;
    // And the minimax polynomial of ln(1 - erf(t)) further out; erf is 1 beyond 4.
    let bounded = t.min(4.0);
    let mut far = -1.728_534_7e-5 * bounded + 3.831_971_3e-4;
    far = far * bounded - 3.883_964_4e-3;
    far = far * bounded + 2.425_462e-2;
    far = far * bounded - 1.067_778_8e-1;
    far = far * bounded - 6.348_467e-1;
    far = far * bounded - 1.287_175_1e-1;
    let far = 1.0 - exp(far * bounded - bounded);
    if t > 0.921_875 { far.copysign(x) } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library() {
        for i in -86_000..=87_000 {
            let x = i as f32 * 1e-3;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "{x}: {error}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn the_error_function_agrees_with_its_series() {
        for i in -6000..=6000 {
            let x = f64::from(i) * 1e-3;
            // 2 / √π Σ (-1)^n x^(2n+1) / (n! (2n+1))
            let (mut power, mut expected) = (x, 0.0);
            for n in 0..200 {
                let n = f64::from(n);
                expected += power / (2.0 * n + 1.0);
                power *= -x * x / (n + 1.0);
            }
            expected *= std::f64::consts::FRAC_2_SQRT_PI;
            let actual = f64::from(erf(x as f32));
            // The series loses 1e-16 of its largest term, e^(x²), to rounding.
            let slack = 1e-15 * (x * x).exp();
            if slack < 1e-8 {
                assert!(
                    (actual - expected).abs() < 2e-7,
                    "{x}: {actual}, {expected}"
                );
            } else {
                assert!((actual.abs() - 1.0).abs() < 2e-7, "{x}: {actual}");
            }
        }
        assert!(erf(f32::NAN).is_nan());
        assert_eq!(erf(f32::INFINITY), 1.0);
    }
}
