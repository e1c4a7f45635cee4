//! How shapes move between frames, and when they may touch something.

use super::tracks::{Track, Tracks};
use super::{length, minus};

/// Gaps count as gaps only if they are wider by this many pixels.
const MARGIN: f64 = 1.0;

/// What a shape does between two frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// Its displacement; none if it is not clear in both frames.
    pub moved: Option<[f64; 2]>,
    /// What it may touch.
    pub touch: Touch,
}

/// What a shape may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    /// Nothing.
    Nothing,
    /// A wall, or two.
    Wall,
    /// The shape of this track.
    Shape(usize),
    /// More than one of these.
    Several,
}

impl Touch {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, touch) | (touch, Self::Nothing) => touch,
            (a, b) if a == b => a,
            _ => Self::Several,
        }
    }
}

impl Interval {
    /// The velocity, if the shape cannot have touched anything.
    pub(super) fn free(&self) -> Option<[f64; 2]> {
        self.moved.filter(|_| self.touch == Touch::Nothing)
    }

    /// Whether the shape is seen and may touch something.
    pub(super) fn is_contact(&self) -> bool {
        self.moved.is_some() && self.touch != Touch::Nothing
    }
}

/// The intervals of every track: `n - 1` each for a clip of `n` frames of `side` pixels.
pub(super) fn intervals(tracks: &Tracks, collide: bool, side: usize) -> Vec<Vec<Interval>> {
    let margin = MARGIN / side as f64;
    let tracks = &tracks.tracks;
    let moves: Vec<Vec<Option<[f64; 2]>>> = tracks.iter().map(moves).collect();
    let frames = tracks.first().map_or(0, |track| track.sightings.len());
    let mut intervals = vec![Vec::new(); tracks.len()];
    for at in 0..frames.saturating_sub(1) {
        let speeds: Vec<f64> = moves.iter().map(|moves| fastest(moves, at)).collect();
        let touching = |i: usize, speeds: &[f64]| -> Vec<usize> {
            let meets = |j: &usize| {
                closes(at, speeds[i] + speeds[*j] + margin, |frame| {
                    let apart = minus(tracks[i].position(frame)?, tracks[*j].position(frame)?);
                    Some(length(apart) - tracks[i].radius - tracks[*j].radius)
                })
            };
            let others = (0..tracks.len()).filter(|&j| collide && j != i);
            others.filter(meets).collect()
        };
        // A collision makes a shape faster, by at most twice the other's speed, and it may then
        // meet a wall or a third shape within the same interval.
        let pushed: Vec<f64> = (0..tracks.len())
            .map(|i| {
                let pushes = touching(i, &speeds).into_iter().map(|j| 2.0 * speeds[j]);
                speeds[i] + pushes.sum::<f64>()
            })
            .collect();
        for (i, track) in tracks.iter().enumerate() {
            let at_wall = [0, 1].into_iter().any(|axis| {
                let position = |frame| Some(track.position(frame)?[axis]);
                let low = |frame| Some(position(frame)? - track.radius);
                let high = |frame| Some(1.0 - track.radius - position(frame)?);
                closes(at, pushed[i] + margin, low) || closes(at, pushed[i] + margin, high)
            });
            let wall = if at_wall { Touch::Wall } else { Touch::Nothing };
            let others = touching(i, &pushed).into_iter().map(Touch::Shape);
            intervals[i].push(Interval {
                moved: moves[i][at],
                touch: others.fold(wall, Touch::and),
            });
        }
    }
    intervals
}

fn moves(track: &Track) -> Vec<Option<[f64; 2]>> {
    (1..track.sightings.len())
        .map(|frame| Some(minus(track.position(frame)?, track.position(frame - 1)?)))
        .collect()
}

/// The largest speed in an interval and its neighbours, because in an interval in which a shape
/// turns, its displacement is shorter than its path.
fn fastest(moves: &[Option<[f64; 2]>], at: usize) -> f64 {
    let near = moves.iter().take(at + 2).skip(at.saturating_sub(1));
    near.flatten().copied().map(length).fold(0.0, f64::max)
}

/// Whether a gap may close and open again between a frame and the next, on a path of this length.
fn closes(at: usize, way: f64, gap: impl Fn(usize) -> Option<f64>) -> bool {
    match (gap(at), gap(at + 1)) {
        (Some(before), Some(after)) => before + after <= way,
        _ => false,
    }
}
