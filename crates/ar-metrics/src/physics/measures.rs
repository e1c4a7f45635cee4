//! The measures of one clip.

use ar_video::Frame;
use serde::{Deserialize, Serialize};

use super::bounces::Bounces;
use super::motion::{Interval, intervals};
use super::tracks::{Sighting, Tracks};
use super::{World, length, mean, minus};

/// Number of successive frames in which there are too few or too many shapes before it counts as a failure; fewer are a
/// flicker.
const PERSISTENCE: usize = 2;
/// A shape slower than this fraction of the least speed is still.
const STILL: f64 = 0.25;
/// A video is still if all shapes are still in this share of its intervals.
const STILLNESS: f64 = 0.5;
/// Number of first energies, whose mean the others are compared with.
const FIRST_ENERGIES: usize = 3;

/// The true continuation of a clip.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// All its frames, in the size of the measured ones.
    pub frames: &'a [Frame],
    /// Number of frames at the beginning that were given, and are not measured because the model did not make them.
    pub given: usize,
}

/// The measures of one clip; see [the module](super) for definitions. There is one value per frame, or none where it
/// cannot be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClipMeasures {
    /// 1 if the number of shapes is right, else 0.
    pub object_count: Vec<Option<f64>>,
    /// As a fraction of the radius in the first frame.
    pub radius_drift: Vec<Option<f64>>,
    /// As a fraction of the speed.
    pub velocity_error: Vec<Option<f64>>,
    /// As a fraction of the kinetic energy in the first frames.
    pub energy_drift: Vec<Option<f64>>,
    /// In frame widths; empty without a truth.
    pub trajectory_error: Vec<Option<f64>>,
    /// Angles in degrees, one for each bounce off a wall.
    pub reflection_errors: Vec<f64>,
    /// Angles in degrees, two for each collision of shapes.
    pub collision_errors: Vec<f64>,
    /// Nothing moves.
    pub stillness: bool,
    /// There are more shapes than there should be.
    pub duplication: bool,
    /// Shapes are lost.
    pub disappearance: bool,
}

/// Measures a clip against the physics of `world` and, if there is one, against the truth.
///
/// Frames that were given ([`Truth::given`]) define the number of shapes and their properties, and are not measured
/// themselves. A velocity is measured if the frame that it leads to is measured.
///
/// # Panics
/// If there are no frames, frames are not square or have different sizes, the truth has another length or size, or the
/// world has no colours, outlines or shapes.
pub fn measure(world: &World, frames: &[Frame], truth: Option<Truth<'_>>) -> ClipMeasures {
    world.assert_measurable();
    let side = frames.first().expect("a clip has frames").width();
    for frame in frames {
        assert_eq!(frame.size(), (side, side), "square frames of one size");
    }
    let tracks = Tracks::new(world, frames);
    let truth = truth.map(|truth| {
        crate::assert_comparable(frames, truth.frames);
        (Tracks::new(world, truth.frames), truth.given)
    });
    let given = truth.as_ref().map_or(0, |(_, given)| *given);
    // The interval after frame `t` leads to frame `t + 1`.
    let first_interval = given.saturating_sub(1);
    let intervals = intervals(&tracks, world.collide, side);
    let still = STILL * world.min_speed;
    let bounces = Bounces::new(&tracks, &intervals, still, first_interval);

    let first = truth.as_ref().map_or(&tracks, |(truth, _)| truth).counts[0];
    let expected = first.clamp(*world.shapes.start(), *world.shapes.end());
    let counts = &tracks.counts;
    let object_count = counts
        .iter()
        .map(|count| Some(f64::from(u8::from(*count == expected))))
        .collect();
    let velocity_error = velocity_error(&intervals, frames.len(), world.min_speed);
    let made = || counts.iter().skip(given);
    ClipMeasures {
        object_count: from(given, object_count),
        radius_drift: from(given, radius_drift(&tracks)),
        velocity_error: from(first_interval, velocity_error),
        energy_drift: from(given, energy_drift(&tracks, &intervals, frames.len())),
        trajectory_error: truth
            .map(|(truth, given)| from(given, trajectory_error(&tracks, &truth)))
            .unwrap_or_default(),
        reflection_errors: bounces.reflections,
        collision_errors: bounces.collisions,
        stillness: is_still(&intervals, first_interval, still),
        duplication: persists(made().map(|count| *count > expected)),
        disappearance: persists(made().map(|count| *count < expected))
            || tracks.tracks.iter().any(|track| {
                let missing = |sighting: &Sighting| *sighting == Sighting::Missing;
                persists(track.sightings.iter().skip(given).map(missing))
            }),
    }
}

/// Without the values before `first`.
fn from(first: usize, mut values: Vec<Option<f64>>) -> Vec<Option<f64>> {
    let before = first.min(values.len());
    values[..before].fill(None);
    values
}

fn persists(found: impl Iterator<Item = bool>) -> bool {
    let mut on_end = 0;
    for found in found {
        on_end = if found { on_end + 1 } else { 0 };
        if on_end == PERSISTENCE {
            return true;
        }
    }
    false
}

fn radius_drift(tracks: &Tracks) -> Vec<Option<f64>> {
    let drift = |frame: usize| {
        mean(tracks.tracks.iter().filter_map(|track| {
            let first = track.sightings.iter().find_map(Sighting::clear)?;
            let now = track.sightings[frame].clear()?;
            Some(((now.area / first.area).sqrt() - 1.0).abs())
        }))
    };
    (0..tracks.counts.len()).map(drift).collect()
}

fn velocity_error(
    intervals: &[Vec<Interval>],
    frames: usize,
    least_speed: f64,
) -> Vec<Option<f64>> {
    let error = |frame: usize| {
        mean(intervals.iter().filter_map(|intervals| {
            let before = intervals[frame.checked_sub(1)?].free()?;
            let after = intervals.get(frame)?.free()?;
            let scale = length(before).max(least_speed);
            // Without a least speed a shape may be at rest, and then a relative error is not defined.
            (scale > 0.0).then(|| length(minus(after, before)) / scale)
        }))
    };
    (0..frames).map(error).collect()
}

fn energy_drift(tracks: &Tracks, intervals: &[Vec<Interval>], frames: usize) -> Vec<Option<f64>> {
    let energy = |frame: usize| -> Option<f64> {
        let at = frame.checked_sub(1)?;
        let energies = tracks
            .tracks
            .iter()
            .zip(intervals)
            .map(|(track, intervals)| {
                let speed = length(intervals[at].free()?);
                Some((track.radius * speed).powi(2))
            });
        energies.sum()
    };
    let energies: Vec<Option<f64>> = (0..frames).map(energy).collect();
    let first = mean(energies.iter().flatten().copied().take(FIRST_ENERGIES));
    let drift = |energy: f64| {
        let first = first.filter(|first| *first > 0.0)?;
        Some((energy / first - 1.0).abs())
    };
    energies
        .into_iter()
        .map(|energy| energy.and_then(drift))
        .collect()
}

/// A shape of the truth is compared with the nearest one of its colour. In a world in which every shape has its own
/// colour, as in `ar-data`'s, no two shapes of the truth are compared with the same one.
fn trajectory_error(tracks: &Tracks, truth: &Tracks) -> Vec<Option<f64>> {
    let partner = |track: &super::tracks::Track| {
        let apart = |other: &&super::tracks::Track| {
            let positions = (track.sightings[0].object(), other.sightings[0].object());
            match positions {
                (Some(a), Some(b)) => length(minus(a.position, b.position)),
                _ => f64::INFINITY,
            }
        };
        tracks
            .tracks
            .iter()
            .filter(|other| other.colour == track.colour)
            .min_by(|a, b| apart(a).total_cmp(&apart(b)))
    };
    let pairs: Vec<_> = truth
        .tracks
        .iter()
        .filter_map(|track| Some((track, partner(track)?)))
        .collect();
    let error = |frame: usize| {
        mean(pairs.iter().filter_map(|(truth, track)| {
            Some(length(minus(
                track.position(frame)?,
                truth.position(frame)?,
            )))
        }))
    };
    (0..tracks.counts.len()).map(error).collect()
}

fn is_still(intervals: &[Vec<Interval>], first: usize, still: f64) -> bool {
    let count = intervals.first().map_or(0, Vec::len);
    let fastest = |at: usize| {
        let moves = intervals.iter().filter_map(|intervals| intervals[at].moved);
        moves.map(length).reduce(f64::max)
    };
    let speeds: Vec<f64> = (first..count).filter_map(fastest).collect();
    let at_rest = speeds.iter().filter(|speed| **speed < still).count();
    !speeds.is_empty() && at_rest as f64 >= STILLNESS * speeds.len() as f64
}
