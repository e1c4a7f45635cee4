//! A synthetic world of coloured shapes that move in straight lines and bounce off the walls and,
//! optionally, off each other.
//!
//! The state of every shape in every frame is known, so generated videos can be measured against
//! the physics of this world: the number, size and colour of the shapes stay the same, speeds stay the
//! same between contacts, and reflections are elastic.

mod config;
mod motion;
mod render;
mod scene;

use ar_video::{Clip, Frame};
use burn_dataset::{Dataset, DatasetError};
use serde::{Deserialize, Serialize};

pub use config::{LabelMode, PALETTE, ShapeKind, ShapesConfig, ShapesError};

use crate::batch::VideoItem;
use crate::split::SourceIds;
use scene::Scene;

/// The first seed for evaluation; seeds for training stay below it.
pub const EVALUATION_SEED: u64 = 1 << 32;

/// One shape through the frames of a clip.
///
/// Lengths are fractions of the frame's width; `x` points right and `y` down; the centre of the
/// frame is `[0.5, 0.5]`. In pixels, a shape is at `position * size`, where the first pixel extends
/// from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trajectory {
    /// Its outline.
    pub kind: ShapeKind,
    /// Its colour, one of [`PALETTE`], that no other shape of the clip has.
    pub colour: [u8; 3],
    /// Radius of the circle around it, which bounces.
    pub radius: f64,
    /// Centre of that circle in each frame.
    pub positions: Vec<[f64; 2]>,
    /// Velocity at the time of each frame, per frame.
    pub velocities: Vec<[f64; 2]>,
}

/// A clip of the synthetic world, with its ground truth.
#[derive(Clone, Debug)]
pub struct ShapesClip {
    /// The pictures.
    pub clip: Clip,
    /// The shapes, in the order in which they are drawn.
    pub trajectories: Vec<Trajectory>,
    /// See [`LabelMode`].
    pub label: Option<usize>,
}

/// The world of bouncing shapes.
///
/// Everything in a clip follows from its seed, on every platform. A longer clip of the same seed
/// starts with the frames of the shorter one, and a larger frame shows the same scene.
#[derive(Clone, Debug)]
pub struct ShapesWorld {
    config: ShapesConfig,
}

impl ShapesWorld {
    /// The world that a configuration describes.
    ///
    /// # Errors
    /// As for [`ShapesConfig::validate`].
    pub fn new(config: ShapesConfig) -> Result<Self, ShapesError> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The configuration of this world.
    pub fn config(&self) -> &ShapesConfig {
        &self.config
    }

    /// Names of the labels in order; empty if clips have none.
    pub fn label_names(&self) -> Vec<String> {
        let config = &self.config;
        match config.labels {
            LabelMode::Off => Vec::new(),
            LabelMode::Kind => config.shapes.iter().map(|k| k.name().to_string()).collect(),
            LabelMode::Count => (config.min_shapes..=config.max_shapes)
                .map(|n| n.to_string())
                .collect(),
        }
    }

    /// The clip of a seed.
    pub fn clip(&self, seed: u64) -> ShapesClip {
        let (trajectories, label) = self.trajectories(seed);
        let frames = (0..self.config.frames)
            .map(|t| self.draw(&trajectories, t))
            .collect();
        ShapesClip {
            clip: Clip::new(frames),
            trajectories,
            label,
        }
    }

    /// The shapes of [`Self::clip`] and its label, without the pictures.
    pub fn trajectories(&self, seed: u64) -> (Vec<Trajectory>, Option<usize>) {
        let Scene {
            kinds,
            colours,
            mut discs,
            label,
        } = Scene::new(&self.config, seed);
        let mut trajectories: Vec<Trajectory> = discs
            .iter()
            .zip(kinds)
            .zip(colours)
            .map(|((disc, kind), colour)| Trajectory {
                kind,
                colour,
                radius: disc.radius,
                positions: Vec::with_capacity(self.config.frames),
                velocities: Vec::with_capacity(self.config.frames),
            })
            .collect();
        for frame in 0..self.config.frames {
            if frame > 0 {
                motion::advance(&mut discs, self.config.collide);
            }
            for (trajectory, disc) in trajectories.iter_mut().zip(&discs) {
                trajectory.positions.push(disc.position);
                trajectory.velocities.push(disc.velocity);
            }
        }
        (trajectories, label)
    }

    fn draw(&self, trajectories: &[Trajectory], frame: usize) -> Frame {
        let side = self.config.size as f64;
        let sprites: Vec<_> = trajectories
            .iter()
            .map(|t| render::Sprite {
                kind: t.kind,
                colour: t.colour,
                radius: t.radius * side,
                centre: t.positions[frame].map(|x| x * side),
            })
            .collect();
        render::render(self.config.size, self.config.background, &sprites)
    }
}

/// The clips of consecutive seeds as a dataset of [`VideoItem`]s, drawn on demand.
#[derive(Clone, Debug)]
pub struct ShapesDataset {
    world: ShapesWorld,
    len: usize,
    first_seed: u64,
}

impl ShapesDataset {
    /// The clips of the seeds `first_seed..first_seed + len`.
    ///
    /// Use seeds that do not overlap for training and evaluation.
    ///
    /// # Panics
    /// If the last seed is beyond 64 bits.
    pub fn new(world: ShapesWorld, len: usize, first_seed: u64) -> Self {
        assert!(
            first_seed.checked_add(len as u64).is_some(),
            "{len} seeds from {first_seed} on are beyond 64 bits"
        );
        Self {
            world,
            len,
            first_seed,
        }
    }

    /// The world of the clips.
    pub fn world(&self) -> &ShapesWorld {
        &self.world
    }

    /// The seed of an item.
    pub fn seed(&self, index: usize) -> u64 {
        self.first_seed + index as u64
    }

    /// The class of an item, without drawing it; none without labels.
    pub fn label(&self, index: usize) -> Option<usize> {
        Scene::new(self.world.config(), self.seed(index)).label
    }
}

impl SourceIds for ShapesDataset {
    fn source_id(&self, index: usize) -> u64 {
        self.seed(index)
    }
}

impl Dataset<VideoItem> for ShapesDataset {
    fn get(&self, index: usize) -> Result<VideoItem, DatasetError> {
        assert!(index < self.len, "item {index} of {}", self.len);
        let ShapesClip { clip, label, .. } = self.world.clip(self.seed(index));
        Ok(VideoItem {
            clip,
            label,
            source: self.source_id(index),
        })
    }

    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests;
