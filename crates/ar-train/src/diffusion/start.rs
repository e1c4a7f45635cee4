//! What a diffusion stage starts from.

use std::path::Path;

use ar_dit::{DitConfig, PositionEmbedding};
use ar_model::{Transformer, VideoModel};
use burn::tensor::Device;

use crate::config::DiffusionRun;
use crate::error::{BoxError, ConfigError};

/// The network that starts from the model directory `dir`, and what it takes from there; `fresh` gives
/// the rest.
///
/// # Errors
/// If the model cannot be read, or has another network.
pub(super) fn from_model(
    dir: &Path,
    fresh: Transformer,
    config: &DiffusionRun,
    device: &Device,
) -> Result<(Transformer, &'static str), ConfigError> {
    let cannot_start = |error: BoxError| {
        ConfigError::new(["start_from"], format!("start_from = {}", dir.display())).because(error)
    };
    let frames = config.transformer.num_frames;
    let (found, trained) = VideoModel::load_transformer(dir, frames, device)
        .map_err(|error| cannot_start(error.into()))?;
    let dit = found
        .transformer
        .ok_or_else(|| cannot_start("no transformer".into()))?;
    check(&dit, &config.transformer).map_err(cannot_start)?;

    Ok(
        if found.conditioning.classes == config.conditioning.classes {
            (trained, "all weights")
        } else {
            (
                fresh.with_dit(trained.dit().clone()),
                "all weights but the context vectors, which are for another number of classes",
            )
        },
    )
}

/// Checks that weights of the network `found` fit the network `wanted`, which may be for clips of
/// another length where positions allow it.
fn check(found: &DitConfig, wanted: &DitConfig) -> Result<(), BoxError> {
    let of_length = DitConfig {
        num_frames: wanted.num_frames,
        ..found.clone()
    };
    if of_length != *wanted {
        let found = toml::to_string(found)?.trim().replace('\n', ", ");
        let message = "its transformer is another network than [transformer] describes";
        return Err(format!("{message}: {found}").into());
    }
    if wanted.num_frames > found.num_frames && wanted.positions != PositionEmbedding::FrameRotary {
        return Err(format!(
            "its transformer knows positions of {} frames and transformer.num_frames = {}; longer \
             clips are for positions = \"frame_rotary\"",
            found.num_frames, wanted.num_frames
        )
        .into());
    }
    Ok(())
}
