//! Reflections at walls and collisions.

use std::ops::Range;

use super::motion::{Interval, Touch};
use super::tracks::{Track, Tracks};
use super::{dot, length, minus};

/// Most intervals before and after a bounce over which velocities are averaged.
const AVERAGED: usize = 3;

/// Angles in degrees between velocities after bounces and what they should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bounces {
    /// At walls, one per bounce.
    pub reflections: Vec<f64>,
    /// At each other, one for each of the two shapes.
    pub collisions: Vec<f64>,
}

impl Bounces {
    /// All bounces between free intervals, if the velocity after them is from interval `first` or
    /// later. The direction of a velocity below `least_speed` is not measured.
    pub(super) fn new(
        tracks: &Tracks,
        intervals: &[Vec<Interval>],
        least_speed: f64,
        first: usize,
    ) -> Self {
        let contacts: Vec<Vec<Contact>> = tracks
            .tracks
            .iter()
            .zip(intervals)
            .map(|(track, intervals)| contacts(track, intervals))
            .collect();
        let mut bounces = Self::default();
        for (i, track) in tracks.tracks.iter().enumerate() {
            for contact in contacts[i].iter().filter(|c| c.range.end >= first) {
                match contact.touch {
                    Touch::Wall => {
                        let expected = contact.reflected(track.radius);
                        let angle = expected.and_then(|v| angle(v, contact.after, least_speed));
                        bounces.reflections.extend(angle);
                    }
                    // Once for the pair.
                    Touch::Shape(j) if i < j => {
                        let other = contacts[j].iter().find(|other| {
                            other.touch == Touch::Shape(i) && other.range == contact.range
                        });
                        let Some(other) = other else { continue };
                        let radii = [track.radius, tracks.tracks[j].radius];
                        let Some(expected) = collided([contact, other], radii) else {
                            continue;
                        };
                        let pairs = expected.into_iter().zip([contact.after, other.after]);
                        let angles = pairs.filter_map(|(v, after)| angle(v, after, least_speed));
                        bounces.collisions.extend(angles);
                    }
                    _ => {}
                }
            }
        }
        bounces
    }
}

/// Successive intervals in which a shape may touch something, with free ones before and after.
struct Contact {
    range: Range<usize>,
    touch: Touch,
    /// Position before the first of the intervals.
    position: [f64; 2],
    before: [f64; 2],
    after: [f64; 2],
}

fn contacts(track: &Track, intervals: &[Interval]) -> Vec<Contact> {
    let mut contacts = Vec::new();
    let mut start = 0;
    while start < intervals.len() {
        let length = intervals[start..]
            .iter()
            .take_while(|interval| interval.is_contact())
            .count();
        let range = start..start + length;
        start += length + 1;
        let before = average(intervals[..range.start].iter().rev());
        let after = average(intervals[range.end..].iter());
        let position = track.position(range.start);
        if let (false, Some(before), Some(after), Some(position)) =
            (range.is_empty(), before, after, position)
        {
            let touches = intervals[range.clone()].iter().map(|i| i.touch);
            contacts.push(Contact {
                touch: touches.fold(Touch::Nothing, Touch::and),
                range,
                position,
                before,
                after,
            });
        }
    }
    contacts
}

/// The mean velocity over the first free intervals; none if the first is not free.
fn average<'a>(intervals: impl Iterator<Item = &'a Interval>) -> Option<[f64; 2]> {
    let free: Vec<[f64; 2]> = intervals
        .take(AVERAGED)
        .map_while(|interval| interval.free())
        .collect();
    let mean = |axis: usize| super::mean(free.iter().map(|velocity| velocity[axis]));
    Some([mean(0)?, mean(1)?])
}

impl Contact {
    /// The velocity after reflection at the walls; none if the path does not reach them.
    fn reflected(&self, radius: f64) -> Option<[f64; 2]> {
        let span = 1.0 - 2.0 * radius;
        let turns = [0, 1].map(|axis| {
            let way = self.before[axis] * self.range.len() as f64;
            // The number of rooms that the path crosses if the room is reflected instead of the
            // shape.
            ((self.position[axis] + way - radius) / span).floor() as i64
        });
        let signed = |axis: usize| match turns[axis].rem_euclid(2) {
            0 => self.before[axis],
            _ => -self.before[axis],
        };
        (turns != [0, 0]).then(|| [signed(0), signed(1)])
    }
}

/// The velocities of two discs of mass `radius²` after an elastic collision; none if they do not
/// meet.
fn collided(contacts: [&Contact; 2], radii: [f64; 2]) -> Option<[[f64; 2]; 2]> {
    let [a, b] = contacts;
    let (d, w) = (minus(b.position, a.position), minus(b.before, a.before));
    // The first time t with |d + w t| = r_a + r_b.
    let gap = dot(d, d) - (radii[0] + radii[1]).powi(2);
    let approach = -dot(d, w);
    let discriminant = approach * approach - dot(w, w) * gap;
    if approach <= 0.0 || discriminant < 0.0 {
        return None;
    }
    let time = gap / (approach + discriminant.sqrt());
    if time > a.range.len() as f64 {
        return None;
    }
    let normal = [d[0] + w[0] * time, d[1] + w[1] * time];
    let [mass_a, mass_b] = radii.map(|radius| radius * radius);
    let change = 2.0 * dot(normal, w) / dot(normal, normal) / (mass_a + mass_b);
    let along = |axis: usize, share: f64| share * change * normal[axis];
    Some([
        [0, 1].map(|axis| a.before[axis] + along(axis, mass_b)),
        [0, 1].map(|axis| b.before[axis] - along(axis, mass_a)),
    ])
}

/// The angle between two velocities in degrees; none if one is too slow to have a direction.
fn angle(a: [f64; 2], b: [f64; 2], least_speed: f64) -> Option<f64> {
    let slow = length(a).min(length(b)) <= least_speed;
    let cross = a[0] * b[1] - a[1] * b[0];
    (!slow).then(|| cross.abs().atan2(dot(a, b)).to_degrees())
}
