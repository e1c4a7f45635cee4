//! What the stages that run in steps have in common, and which of their keys must not change during
//! a run.

use ar_data::{DataConfig, DataSource, MovingMnistConfig, VideoFolderConfig};
use ar_vae::VaeConfig;
use serde::{Serialize, de::DeserializeOwned};

use super::{ComputePrecision, DiffusionRun, DiscriminatorConfig, RunConfig, VaeRun};

/// The configuration of a stage that runs in steps and can be resumed.
pub trait StageConfig: Clone + PartialEq + Serialize + DeserializeOwned {
    /// The length of the run, and its folder.
    fn run(&self) -> &RunConfig;

    /// Steps in a row that may be skipped.
    fn max_skipped(&self) -> usize;

    /// Whether the backward pass recomputes blocks; None if the network does not support it.
    fn activation_checkpointing(&self) -> Option<bool>;

    /// The precision that networks compute in.
    fn precision(&self) -> ComputePrecision;

    /// `resumed`, but with the keys of `self` that must not change during a run: the networks, the
    /// shape of the objective, and what determines the order of the data. Everything else, such as
    /// the number of steps, the optimizer or the weights of the losses, may change between two
    /// checkpoints.
    fn kept_in(self, resumed: &Self) -> Self;
}

impl StageConfig for VaeRun {
    fn run(&self) -> &RunConfig {
        &self.run
    }

    fn max_skipped(&self) -> usize {
        self.optimizer.max_skipped
    }

    fn activation_checkpointing(&self) -> Option<bool> {
        match self.vae {
            VaeConfig::Conv(_) => None,
            _ => Some(self.activation_checkpointing),
        }
    }

    fn precision(&self) -> ComputePrecision {
        self.precision
    }

    fn kept_in(self, resumed: &Self) -> Self {
        let discriminator = match (self.discriminator, &resumed.discriminator) {
            (Some(kept), Some(resumed)) => Some(DiscriminatorConfig {
                filters: kept.filters,
                layers: kept.layers,
                ..resumed.clone()
            }),
            (kept, _) => kept,
        };
        Self {
            stage: self.stage,
            vae: self.vae,
            discriminator,
            run: self.run.kept_in(&resumed.run),
            data: DataConfig {
                clips: self.data.clips,
                first_seed: self.data.first_seed,
                validation: self.data.validation,
                one_per_video: self.data.one_per_video,
                labels: self.data.labels,
                source: source_kept_in(self.data.source, &resumed.data.source),
                ..resumed.data.clone()
            },
            ..resumed.clone()
        }
    }
}

impl StageConfig for DiffusionRun {
    fn run(&self) -> &RunConfig {
        &self.run
    }

    fn max_skipped(&self) -> usize {
        self.optimizer.max_skipped
    }

    fn activation_checkpointing(&self) -> Option<bool> {
        Some(self.activation_checkpointing)
    }

    fn precision(&self) -> ComputePrecision {
        self.precision
    }

    fn kept_in(self, resumed: &Self) -> Self {
        Self {
            transformer: self.transformer,
            conditioning: self.conditioning,
            diffusion: self.diffusion,
            latent_scale: self.latent_scale,
            run: self.run.kept_in(&resumed.run),
            data: DataConfig {
                validation: self.data.validation,
                labels: self.data.labels,
                ..resumed.data.clone()
            },
            ..resumed.clone()
        }
    }
}

impl RunConfig {
    fn kept_in(self, resumed: &Self) -> Self {
        Self {
            seed: self.seed,
            ..resumed.clone()
        }
    }
}

/// Files may move, more or fewer of them may be kept in memory, and more of them may be broken.
fn source_kept_in(source: Option<DataSource>, resumed: &Option<DataSource>) -> Option<DataSource> {
    match (source, resumed) {
        (Some(DataSource::MovingMnist(kept)), Some(DataSource::MovingMnist(resumed))) => {
            Some(DataSource::MovingMnist(MovingMnistConfig {
                images: resumed.images.clone(),
                ..kept
            }))
        }
        (
            Some(DataSource::Videos { config: kept, .. }),
            Some(DataSource::Videos {
                path,
                config: resumed,
            }),
        ) => Some(DataSource::Videos {
            path: path.clone(),
            config: VideoFolderConfig {
                max_memory_mib: resumed.max_memory_mib,
                max_unusable: resumed.max_unusable,
                ..kept
            },
        }),
        (source, _) => source,
    }
}
