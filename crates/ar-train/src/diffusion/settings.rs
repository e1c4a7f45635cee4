//! What belongs to a model besides its weights.

use std::path::Path;

use ar_model::{LatentStatistics, ModelConfig};

use crate::checkpoint::read_toml;
use crate::config::DiffusionRun;
use crate::error::BoxError;

/// The file of a checkpoint with the [`LatentStatistics`] of the run.
pub(super) const STATISTICS: &str = "latent_statistics.toml";

/// The statistics of the checkpoint in `folder`; runs that do not standardise have none, and neither do runs of older
/// versions.
pub(super) fn read_statistics(folder: &Path) -> Result<Option<LatentStatistics>, BoxError> {
    let path = folder.join(STATISTICS);
    path.exists().then(|| read_toml(&path)).transpose()
}

/// The configuration of the model that a run trains.
pub(super) fn model_config(run: &DiffusionRun) -> ModelConfig {
    ModelConfig {
        name: run.name.clone(),
        sampling: run.sampling.clone(),
        diffusion: run.diffusion.clone(),
        conditioning: run.conditioning.clone(),
        latent_statistics: None,
        transformer: Some(run.transformer.clone()),
        vae: None,
    }
}
