//! Averages over clips.

use serde::{Deserialize, Serialize};

use super::{ClipMeasures, mean};

/// Means over clips; see [the module](super) for what is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhysicsReport {
    /// Number of clips.
    pub clips: usize,
    /// Share of the clips with the right number of shapes.
    pub object_count: Curve,
    /// As a fraction of the radius in the first frame.
    pub radius_drift: Curve,
    /// As a fraction of the speed.
    pub velocity_error: Curve,
    /// As a fraction of the kinetic energy in the first frames.
    pub energy_drift: Curve,
    /// In frame widths; only if the truth is known.
    pub trajectory_error: Curve,
    /// Degrees, over all bounces off walls.
    pub reflection_error: Option<f64>,
    /// Number of reflections.
    pub reflections: usize,
    /// Degrees, over both shapes of all collisions.
    pub collision_error: Option<f64>,
    /// Number of shapes in collisions.
    pub collisions: usize,
    /// Shares of the clips that fail.
    pub failures: Failures,
}

/// A mean over everything, and by frame. None where no clip has a value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Over all clips and frames that have a value.
    pub mean: Option<f64>,
    /// By frame.
    pub by_frame: Vec<Option<f64>>,
}

/// Shares of the clips that fail in each way; a clip may fail in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failures {
    /// Nothing moves.
    pub stillness: f64,
    /// More shapes than there should be.
    pub duplication: f64,
    /// Shapes are lost.
    pub disappearance: f64,
}

impl Curve {
    fn new(clips: &[&ClipMeasures], values: fn(&ClipMeasures) -> &[Option<f64>]) -> Self {
        let frames = clips.iter().map(|clip| values(clip).len()).max();
        let at = |frame: usize| {
            let of_clip = |clip: &&ClipMeasures| *values(clip).get(frame)?;
            mean(clips.iter().filter_map(of_clip))
        };
        Self {
            mean: mean(
                clips
                    .iter()
                    .flat_map(|clip| values(clip).iter().flatten().copied()),
            ),
            by_frame: (0..frames.unwrap_or(0)).map(at).collect(),
        }
    }
}

impl PhysicsReport {
    /// The means over `clips`, which may differ in length; all None if there are no clips.
    pub fn new<'a>(clips: impl IntoIterator<Item = &'a ClipMeasures>) -> Self {
        let clips: Vec<&ClipMeasures> = clips.into_iter().collect();
        let angles = |angles: fn(&ClipMeasures) -> &[f64]| -> Vec<f64> {
            clips
                .iter()
                .flat_map(|clip| angles(clip))
                .copied()
                .collect()
        };
        let reflections = angles(|clip| &clip.reflection_errors);
        let collisions = angles(|clip| &clip.collision_errors);
        let share = |fails: fn(&ClipMeasures) -> bool| {
            let failed = clips.iter().filter(|clip| fails(clip)).count();
            failed as f64 / clips.len().max(1) as f64
        };
        Self {
            clips: clips.len(),
            object_count: Curve::new(&clips, |clip| &clip.object_count),
            radius_drift: Curve::new(&clips, |clip| &clip.radius_drift),
            velocity_error: Curve::new(&clips, |clip| &clip.velocity_error),
            energy_drift: Curve::new(&clips, |clip| &clip.energy_drift),
            trajectory_error: Curve::new(&clips, |clip| &clip.trajectory_error),
            reflection_error: mean(reflections.iter().copied()),
            reflections: reflections.len(),
            collision_error: mean(collisions.iter().copied()),
            collisions: collisions.len(),
            failures: Failures {
                stillness: share(|clip| clip.stillness),
                duplication: share(|clip| clip.duplication),
                disappearance: share(|clip| clip.disappearance),
            },
        }
    }
}
