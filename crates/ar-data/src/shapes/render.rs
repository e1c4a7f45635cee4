//! Anti-aliased pictures of shapes: a pixel is blended by the share of its
//! area that the shape covers, exactly for upright edges.

use ar_video::Frame;

use super::config::ShapeKind;

/// A shape in a picture, in pixels from the top left corner.
pub(super) struct Sprite {
    pub kind: ShapeKind,
    pub colour: [u8; 3],
    pub radius: f64,
    pub centre: [f64; 2],
}

/// Draws the shapes on a plain background, each over those before it.
pub(super) fn render(size: usize, background: [u8; 3], sprites: &[Sprite]) -> Frame {
    let mut rgb: Vec<u8> = background.repeat(size * size);
    for sprite in sprites {
        let [columns, rows] = sprite.centre.map(|c| {
            let first = (c - sprite.radius - 1.0).floor().max(0.0) as usize;
            let end = (c + sprite.radius + 1.0).ceil().max(0.0) as usize;
            first..end.min(size)
        });
        for row in rows {
            let y = row as f64 + 0.5 - sprite.centre[1];
            for column in columns.clone() {
                let x = column as f64 + 0.5 - sprite.centre[0];
                let cover = coverage(sprite.kind, sprite.radius, x, y);
                if cover > 0.0 {
                    let at = 3 * (row * size + column);
                    blend(&mut rgb[at..at + 3], sprite.colour, cover);
                }
            }
        }
    }
    Frame::new(size, size, rgb)
}

fn blend(pixel: &mut [u8], colour: [u8; 3], cover: f64) {
    for (old, new) in pixel.iter_mut().zip(colour) {
        let (below, above) = (f64::from(*old), f64::from(new));
        *old = (below + (above - below) * cover).round() as u8;
    }
}

/// Share of the unit pixel around `(x, y)` that a shape around the origin
/// covers; `y` points down.
fn coverage(kind: ShapeKind, radius: f64, x: f64, y: f64) -> f64 {
    use std::f64::consts::FRAC_1_SQRT_2;
    match kind {
        ShapeKind::Circle => inside(radius - (x * x + y * y).sqrt()),
        ShapeKind::Square => {
            let half = radius * FRAC_1_SQRT_2;
            inside(half - x.abs()) * inside(half - y.abs())
        }
        ShapeKind::Diamond => {
            let half = radius * FRAC_1_SQRT_2;
            let (u, v) = ((x + y) * FRAC_1_SQRT_2, (x - y) * FRAC_1_SQRT_2);
            inside(half - u.abs()) * inside(half - v.abs())
        }
        ShapeKind::Triangle => {
            // Three edges at half the radius from the centre; the lower one is
            // level, the others lean by 30 degrees.
            let half = 0.5 * radius;
            let slanted = half + 0.5 * y - 0.75_f64.sqrt() * x.abs();
            let mirrored = half + 0.5 * y + 0.75_f64.sqrt() * x.abs();
            inside(half - y) * inside(slanted) * inside(mirrored)
        }
        ShapeKind::Cross => {
            // Arms of length a and half-width a / 3 with their corners on the
            // circle: a^2 + (a / 3)^2 = r^2.
            let length = radius * 0.9_f64.sqrt();
            let width = length / 3.0;
            let (x, y) = (x.abs(), y.abs());
            let level = inside(length - x) * inside(width - y);
            let upright = inside(width - x) * inside(length - y);
            level + upright - inside(width - x) * inside(width - y)
        }
    }
}

/// Share of a pixel on the inner side of an edge that is `distance` further
/// out than the pixel's centre.
fn inside(distance: f64) -> f64 {
    (distance + 0.5).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ShapeKind; 5] = [
        ShapeKind::Circle,
        ShapeKind::Square,
        ShapeKind::Triangle,
        ShapeKind::Diamond,
        ShapeKind::Cross,
    ];

    /// Total coverage against the area in closed form, for several offsets
    /// within a pixel.
    #[test]
    fn areas() {
        let radius = 10.0_f64;
        for kind in KINDS {
            let expected = radius
                * radius
                * match kind {
                    ShapeKind::Circle => std::f64::consts::PI,
                    ShapeKind::Square | ShapeKind::Diamond => 2.0,
                    ShapeKind::Triangle => 0.75 * 3.0_f64.sqrt(),
                    // Five squares of side 2 a / 3 with a^2 = 0.9 r^2.
                    ShapeKind::Cross => 2.0,
                };
            for (dx, dy) in [(0.0, 0.0), (0.5, 0.25), (0.3, 0.7), (0.9, 0.1)] {
                let mut area = 0.0;
                for row in -13..13 {
                    for column in -13..13 {
                        let (x, y) = (f64::from(column) + dx, f64::from(row) + dy);
                        let cover = coverage(kind, radius, x, y);
                        assert!((0.0..=1.0).contains(&cover));
                        area += cover;
                    }
                }
                // Corners and curved edges are approximated: half a percent.
                assert!(
                    (area / expected - 1.0).abs() < 5e-3,
                    "{kind:?} {area} {expected}"
                );
            }
        }
    }

    #[test]
    fn pixels_of_a_square() {
        // Side 4, from 2 to 6 in x and from 2.25 to 6.25 in y.
        let square = Sprite {
            kind: ShapeKind::Square,
            colour: [200, 100, 0],
            radius: 8.0_f64.sqrt(),
            centre: [4.0, 4.25],
        };
        let frame = render(8, [0, 0, 100], &[square]);
        let pixel = |x: usize, y: usize| &frame.rgb()[3 * (8 * y + x)..][..3];
        assert_eq!(pixel(1, 4), [0, 0, 100]);
        assert_eq!(pixel(2, 4), [200, 100, 0]);
        assert_eq!(pixel(5, 5), [200, 100, 0]);
        assert_eq!(pixel(6, 4), [0, 0, 100]);
        assert_eq!(pixel(3, 2), [150, 75, 25]);
        assert_eq!(pixel(3, 6), [50, 25, 75]);
        assert_eq!(pixel(3, 7), [0, 0, 100]);
    }

    #[test]
    fn later_shapes_are_drawn_over_earlier_ones() {
        let sprites = [[200, 0, 0], [0, 200, 0]].map(|colour| Sprite {
            kind: ShapeKind::Circle,
            colour,
            radius: 3.0,
            centre: [4.0, 4.0],
        });
        let frame = render(8, [0; 3], &sprites);
        assert_eq!(frame.rgb()[3 * (8 * 4 + 4)..][..3], [0, 200, 0]);
    }
}
