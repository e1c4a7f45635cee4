//! The `[data]` section of configuration files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Labels, MovingMnistConfig, ShapesConfig, VideoFolderConfig};

/// What to train on: exactly one of `shapes`, `moving_mnist`, `videos` and `latents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Clips drawn of a synthetic world: `shapes` or `moving_mnist`.
    pub clips: usize,
    /// Seed of the first clip of a synthetic world.
    pub first_seed: u64,
    /// Clips for validation: see [`Split`](crate::Split). The old name `held_out` is read, too.
    #[serde(alias = "held_out")]
    pub validation: usize,
    /// Threads that read ahead of training. Their number changes no batch.
    pub workers: usize,
    /// Batches that wait for training at most.
    pub prefetch: usize,
    /// Whether clips are mirrored left to right at random (not the validation clips).
    pub flip: bool,
    /// Classes of the videos at `path`, or of `.npy` latents: `"folders"`, or a CSV file with the
    /// columns `path` and `class`.
    pub labels: Option<Labels>,
    /// The world of bouncing shapes.
    pub shapes: Option<ShapesConfig>,
    /// Moving digits, drawn from the MNIST files.
    pub moving_mnist: Option<MovingMnistConfig>,
    /// Folder of videos, or one video; read as `videos` says.
    pub path: Option<PathBuf>,
    /// How clips are cut out of the videos at `path`.
    pub videos: Option<VideoFolderConfig>,
    /// Folder that `ar-train latents` has written, or a folder of `.npy` files of the reference
    /// implementation (diffusion only).
    pub latents: Option<PathBuf>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            clips: 4096,
            first_seed: 0,
            validation: 16,
            workers: 2,
            prefetch: 4,
            flip: false,
            labels: None,
            shapes: None,
            moving_mnist: None,
            path: None,
            videos: None,
            latents: None,
        }
    }
}
