use ar_data::shapes::ShapeKind;

/// Measures of an outline. Every outline is upright and touches the circle of the shape's radius
/// from inside; its centroid is the centre of that circle.
pub(super) trait Outline: Sized {
    /// Area of the outline of radius 1.
    fn fill(self) -> f64;

    /// `Im ∫ z³ / area^(5/2)` and `Re ∫ z⁴ / area³` over the outline, with `z = x + iy` from the
    /// centroid and `y` downwards.
    ///
    /// Powers of `z` are harmonic, so a blur that is the same in all directions does not change
    /// these integrals.
    fn moments(self) -> [f64; 2];

    /// The outline whose moments are nearest.
    fn nearest(outlines: &[Self], moments: [f64; 2]) -> Self;
}

impl Outline for ShapeKind {
    fn fill(self) -> f64 {
        match self {
            Self::Circle => std::f64::consts::PI,
            Self::Square | Self::Diamond | Self::Cross => 2.0,
            Self::Triangle => 0.75 * 3.0_f64.sqrt(),
        }
    }

    fn moments(self) -> [f64; 2] {
        match self {
            Self::Circle => [0.0, 0.0],
            Self::Square => [0.0, -1.0 / 60.0],
            Self::Diamond => [0.0, 1.0 / 60.0],
            // ∫ z³ is a tenth of area times radius³.
            Self::Triangle => [0.1 * self.fill().powf(-1.5), 0.0],
            // Five squares.
            Self::Cross => [0.0, 47.0 / 1500.0],
        }
    }

    fn nearest(outlines: &[Self], moments: [f64; 2]) -> Self {
        let distance = |outline: &Self| {
            let [third, fourth] = outline.moments();
            (third - moments[0]).hypot(fourth - moments[1])
        };
        *outlines
            .iter()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .expect("a world has outlines")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a point is inside the outline of radius 1.
    fn contains(outline: ShapeKind, x: f64, y: f64) -> bool {
        let half = 0.5_f64.sqrt();
        let arm = 0.9_f64.sqrt();
        match outline {
            ShapeKind::Circle => x * x + y * y < 1.0,
            ShapeKind::Square => x.abs() < half && y.abs() < half,
            ShapeKind::Diamond => x.abs() + y.abs() < 1.0,
            ShapeKind::Triangle => y < 0.5 && 1.0 + y > 3.0_f64.sqrt() * x.abs(),
            ShapeKind::Cross => x.abs().max(y.abs()) < arm && x.abs().min(y.abs()) < arm / 3.0,
        }
    }

    /// Compares area and moments with sums over a fine grid.
    #[test]
    fn closed_forms() {
        const CELLS: usize = 2001;
        let cell = 2.0 / CELLS as f64;
        for outline in [
            ShapeKind::Circle,
            ShapeKind::Square,
            ShapeKind::Triangle,
            ShapeKind::Diamond,
            ShapeKind::Cross,
        ] {
            let [mut area, mut third, mut fourth] = [0.0; 3];
            for i in 0..CELLS * CELLS {
                let x = ((i % CELLS) as f64 + 0.5) * cell - 1.0;
                let y = ((i / CELLS) as f64 + 0.5) * cell - 1.0;
                if contains(outline, x, y) {
                    area += cell * cell;
                    third += cell * cell * (3.0 * x * x * y - y.powi(3));
                    fourth += cell * cell * (x.powi(4) - 6.0 * x * x * y * y + y.powi(4));
                }
            }
            assert!((area - outline.fill()).abs() < 4e-3, "{outline:?} {area}");
            let expected = outline.moments();
            let actual = [third / area.powf(2.5), fourth / area.powi(3)];
            for (actual, expected) in actual.into_iter().zip(expected) {
                assert!(
                    (actual - expected).abs() < 2e-4,
                    "{outline:?} {actual} {expected}"
                );
            }
        }
    }
}
