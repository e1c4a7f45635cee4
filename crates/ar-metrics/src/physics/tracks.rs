//! Shapes through the frames of a clip.

use ar_video::Frame;

use super::outline::Outline;
use super::segment::{Object, segment};
use super::{ShapeKind, World, length, minus};

/// A shape of the first frame through all frames.
#[derive(Clone, Debug)]
pub(super) struct Track {
    /// Its colour's index in the palette.
    pub colour: usize,
    /// Radius of the circle around it, in frame widths: the median over the frames in which it is clear.
    pub radius: f64,
    /// What is seen of it in each frame.
    pub sightings: Vec<Sighting>,
}

/// What is seen of a shape in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sighting {
    /// All of it.
    Clear(Object),
    /// It, or a shape in front of it: it touches another shape, and they may overlap.
    Partial(Object),
    /// Nothing, but another shape may be in front of it.
    Hidden,
    /// Nothing.
    Missing,
}

impl Sighting {
    /// The whole shape, if it is clear.
    pub(super) fn clear(&self) -> Option<Object> {
        match self {
            Self::Clear(object) => Some(*object),
            _ => None,
        }
    }

    /// The shape, or a part of it.
    pub(super) fn object(&self) -> Option<Object> {
        match self {
            Self::Clear(object) | Self::Partial(object) => Some(*object),
            _ => None,
        }
    }
}

impl Track {
    /// Where the shape is in a frame, if it is clear there.
    pub(super) fn position(&self, frame: usize) -> Option<[f64; 2]> {
        self.sightings[frame].clear().map(|object| object.position)
    }
}

/// The shapes of a clip.
#[derive(Clone, Debug)]
pub(super) struct Tracks {
    /// The shapes of the first frame.
    pub tracks: Vec<Track>,
    /// Number of shapes in each frame, including hidden ones.
    pub counts: Vec<usize>,
}

impl Tracks {
    /// Follows the shapes of the first frame.
    pub(super) fn new(world: &World, frames: &[Frame]) -> Self {
        let objects: Vec<Vec<Object>> = frames.iter().map(|frame| segment(world, frame)).collect();
        let mut tracks: Vec<Track> = objects[0]
            .iter()
            .map(|object| Track {
                colour: object.colour,
                radius: 0.0,
                sightings: vec![Sighting::Clear(*object)],
            })
            .collect();
        for objects in &objects[1..] {
            follow(&mut tracks, objects);
        }
        if !world.collide {
            let side = frames[0].width();
            let reaches: Vec<f64> = tracks
                .iter()
                .map(|track| reach(world, track, side))
                .collect();
            for frame in 0..frames.len() {
                excuse(&mut tracks, &reaches, frame);
            }
        }
        for track in &mut tracks {
            track.radius = radius(world, track);
        }
        let counts = objects.iter().enumerate().map(|(frame, objects)| {
            let hidden = |track: &&Track| track.sightings[frame] == Sighting::Hidden;
            objects.len() + tracks.iter().filter(hidden).count()
        });
        Self {
            counts: counts.collect(),
            tracks,
        }
    }
}

/// Adds a frame: each object continues the track of its colour that ends nearest to it, the nearest
/// pairs first.
fn follow(tracks: &mut [Track], objects: &[Object]) {
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (i, track) in tracks.iter().enumerate() {
        let Some(last) = track.sightings.iter().rev().find_map(Sighting::object) else {
            continue;
        };
        for (j, object) in objects.iter().enumerate() {
            if object.colour == track.colour {
                pairs.push((length(minus(object.position, last.position)), i, j));
            }
        }
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut found: Vec<Option<usize>> = vec![None; tracks.len()];
    for (_, i, j) in pairs {
        if found[i].is_none() && !found.contains(&Some(j)) {
            found[i] = Some(j);
        }
    }
    for (track, found) in tracks.iter_mut().zip(found) {
        let sighting = found.map_or(Sighting::Missing, |j| Sighting::Clear(objects[j]));
        track.sightings.push(sighting);
    }
}

/// The radius of a shape where it is most visible, plus a pixel for its edge.
fn reach(world: &World, track: &Track, side: usize) -> f64 {
    let objects = track.sightings.iter().filter_map(Sighting::object);
    let largest = objects.max_by(|a, b| a.area.total_cmp(&b.area));
    let radius = |object: Object| {
        let outline = ShapeKind::nearest(&world.outlines, object.moments);
        (object.area / outline.fill()).sqrt()
    };
    largest.map_or(0.0, radius) + 1.0 / side as f64
}

/// Finds the shapes that may be hidden in a frame, in a world where shapes pass over each other.
fn excuse(tracks: &mut [Track], reaches: &[f64], frame: usize) {
    let seen: Vec<Option<[f64; 2]>> = tracks
        .iter()
        .map(|track| Some(track.sightings[frame].object()?.position))
        .collect();
    for (i, track) in tracks.iter_mut().enumerate() {
        let Some(position) = seen[i].or_else(|| expected(track, frame)) else {
            continue;
        };
        let touches = seen.iter().enumerate().any(|(j, other)| {
            j != i
                && other
                    .is_some_and(|other| length(minus(other, position)) < reaches[i] + reaches[j])
        });
        if touches {
            let sighting = &mut track.sightings[frame];
            *sighting = sighting
                .object()
                .map_or(Sighting::Hidden, Sighting::Partial);
        }
    }
}

/// Where a shape that is not seen would be if it had moved on from where it was clear, or else from where it was seen.
fn expected(track: &Track, frame: usize) -> Option<[f64; 2]> {
    let Some(last) = (0..frame).rev().find(|&at| track.position(at).is_some()) else {
        let seen = track.sightings[..frame].iter().rev();
        return seen
            .filter_map(Sighting::object)
            .map(|object| object.position)
            .next();
    };
    let position = track.position(last)?;
    let velocity = last
        .checked_sub(1)
        .and_then(|before| Some(minus(position, track.position(before)?)))
        .unwrap_or([0.0; 2]);
    let frames = (frame - last) as f64;
    let moved = |axis: usize| position[axis] + velocity[axis] * frames;
    // Near enough at a wall, where it would turn.
    Some([moved(0).clamp(0.0, 1.0), moved(1).clamp(0.0, 1.0)])
}

/// The radius of the outline that fits best.
fn radius(world: &World, track: &Track) -> f64 {
    let objects: Vec<Object> = track.sightings.iter().filter_map(Sighting::clear).collect();
    // A shape that is never clear is not measured.
    if objects.is_empty() {
        return 0.0;
    }
    let mean = |axis: usize| {
        let sum: f64 = objects.iter().map(|object| object.moments[axis]).sum();
        sum / objects.len() as f64
    };
    let outline = ShapeKind::nearest(&world.outlines, [mean(0), mean(1)]);
    let mut areas: Vec<f64> = objects.iter().map(|object| object.area).collect();
    areas.sort_by(f64::total_cmp);
    (areas[areas.len() / 2] / outline.fill()).sqrt()
}
