//! Physics consistency: whether a video obeys the physics of a world of coloured shapes. On a plain background, a few
//! shapes move in straight lines and bounce off the walls and perhaps off each other, and none of them changes, appears
//! or disappears. In such a world, a video can be compared with physics rather than with another video (an idea from
//! "How Far is Video Generation from World Model", arXiv 2411.02385).
//!
//! [`World`] describes the world, [`measure`] measures a video, and [`PhysicsReport`] averages over many. Nothing is
//! learned, and nothing has to be known about a video except its world, so rendered ground truth, its reconstruction
//! and samples are measured in the same way and can be compared.
//!
//! # How shapes are found
//!
//! A pixel that is at least half covered by a colour of the palette is part of the core of a shape; four-connected
//! cores are shapes. A core that is less than a quarter as large as the smallest shape, or nowhere three pixels thick,
//! is not a shape (such as the seams where colours meet), and neither is one that is four times as large as the
//! largest. Every pixel near a core is then unmixed into background and at most two colours, which determines area,
//! centroid and outline to a small fraction of a pixel and hardly depends on blur. The outline is the one among
//! [`World::outlines`] whose third and fourth harmonic moments are nearest; the radius is the radius of the circle
//! around it.
//!
//! The shapes of the first frame are followed by colour and position. Where shapes may pass over each other (no
//! [`World::collide`]), a shape that touches another is measured again when it is clear of it, and one that is not seen
//! where another shape is counts as present but hidden. Where shapes bounce off each other, a shape that is not seen is
//! missing. Shapes of one colour that pass over each other cannot be told apart and count as one. Passing shapes are
//! the harder case: on rendered ground truth, 0.2 % of the counts are wrong there, and none where shapes bounce.
//!
//! # What is measured
//!
//! Velocities are differences of successive positions. An interval between two frames is *free* if the shape cannot
//! have touched a wall or a shape in it: the gaps before and after it together exceed the distance that it moved by at
//! least a pixel.
//!
//! | measure | at frame `t`, mean over shapes |
//! |---|---|
//! | object count | 1 if the number of shapes is as in the truth or else as in the first frame, and the world has so many; else 0 |
//! | radius drift | `abs(sqrt(area_t / area_0) - 1)` |
//! | velocity error | `abs(v_t - v_(t-1)) / max(abs(v_(t-1)), min_speed)`, where both intervals are free |
//! | energy drift | `abs(E_t / E - 1)`, with `E_t = sum r² v_t²` over all shapes, where all are free, and `E` the mean of its first three values |
//! | trajectory error | distance from the truth, in sides; shapes that are missing show in the count |
//!
//! and, for each bounce between free intervals, the angle between the velocity after it and the velocity that follows
//! from the one before it by elastic reflection: at a wall, or at another shape of mass `radius²`. Both velocities are
//! means over up to three intervals.
//!
//! If a video continues given frames ([`Truth::given`]), only what it adds is measured: the frames after those, the
//! velocities that lead to such frames (including the first one), and the bounces before such velocities. Radii and
//! energies are still compared with the values of the first frames, which are then given ones.
//!
//! A video fails through
//!
//! - *stillness*, if in half of its intervals or more, no shape moves at a quarter of the least speed;
//! - *disappearance*, if for two successive frames there are too few shapes, or a shape of the first frame is not seen
//!   (one that changes its colour disappears);
//! - *duplication*, if for two successive frames there are too many shapes.
//!
//! ```
//! use ar_metrics::physics::{ShapeKind, World, PhysicsReport, measure};
//! use ar_video::Frame;
//!
//! let world = World {
//!     background: [16, 16, 24],
//!     palette: vec![[235, 50, 50], [50, 80, 245]],
//!     outlines: vec![ShapeKind::Square],
//!     shapes: 1..=3,
//!     radius: 0.1..=0.2,
//!     min_speed: 0.02,
//!     collide: true,
//! };
//! // A red square of side 8 that moves by two pixels per frame.
//! let frame = |t: usize| {
//!     let inside = |x: usize, y: usize| (10 + 2 * t..18 + 2 * t).contains(&x) && (20..28).contains(&y);
//!     let colour = |i: usize| if inside(i % 64, i / 64) { [235, 50, 50] } else { [16, 16, 24] };
//!     Frame::new(64, 64, (0..64 * 64).flat_map(colour).collect())
//! };
//! let measures = measure(&world, &(0..16).map(frame).collect::<Vec<_>>(), None);
//! let report = PhysicsReport::new([&measures]);
//! assert_eq!(report.object_count.mean, Some(1.0));
//! assert_eq!(report.velocity_error.mean, Some(0.0));
//! assert_eq!(report.failures.stillness, 0.0);
//! ```

mod bounces;
mod measures;
mod motion;
mod outline;
mod report;
mod segment;
mod tracks;

use std::ops::RangeInclusive;

pub use ar_data::shapes::ShapeKind;
pub use measures::{ClipMeasures, Truth, measure};
pub use report::{Curve, Failures, PhysicsReport};

use outline::Outline;

/// A world of shapes. Lengths are in widths of the square frame, times in frames.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Colour of the background.
    pub background: [u8; 3],
    /// Colours of the shapes, well apart from each other and from the background.
    pub palette: Vec<[u8; 3]>,
    /// The outlines that occur.
    pub outlines: Vec<ShapeKind>,
    /// How many shapes there may be.
    pub shapes: RangeInclusive<usize>,
    /// Radii of the circles around the shapes.
    pub radius: RangeInclusive<f64>,
    /// The lowest speed at which shapes start.
    pub min_speed: f64,
    /// Whether shapes bounce off each other; otherwise they pass over each other.
    pub collide: bool,
}

impl World {
    /// Panics if nothing could be found in such a world.
    #[track_caller]
    fn assert_measurable(&self) {
        assert!(!self.palette.is_empty(), "a world has colours");
        assert!(!self.outlines.is_empty(), "a world has outlines");
        assert!(!self.shapes.is_empty(), "a world has shapes");
    }

    /// The smallest area of an outline of radius 1.
    fn least_fill(&self) -> f64 {
        let fills = self.outlines.iter().map(|outline| outline.fill());
        fills.fold(f64::INFINITY, f64::min)
    }
}

/// The difference of two points or velocities.
fn minus(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] - b[0], a[1] - b[1]]
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

fn length(a: [f64; 2]) -> f64 {
    a[0].hypot(a[1])
}

/// The mean; none if there are no values.
fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests;
