//! What a diffusion stage starts from.

use anyhow::{Context, Result, ensure};
use ar_dit::{DitConfig, PositionEmbedding};
use ar_model::{Transformer, VideoModel};
use burn::tensor::Device;

use crate::config::DiffusionRun;

/// The network that the stage starts with, and what to say of it if it is not a fresh one.
///
/// # Errors
/// If the model to start from cannot be read, or has another network.
pub fn network(config: &DiffusionRun, device: &Device) -> Result<(Transformer, Option<String>)> {
    let fresh = Transformer::new(&config.transformer, &config.conditioning, device)?;
    let Some(dir) = &config.start_from else {
        return Ok((fresh, None));
    };
    let named = || format!("start_from = {}", dir.display());
    let frames = config.transformer.num_frames;
    let (found, trained) = VideoModel::load_transformer(dir, frames, device).with_context(named)?;
    let dit = found
        .transformer
        .context("no transformer")
        .with_context(named)?;
    check(&dit, &config.transformer).with_context(named)?;

    let classes = config.conditioning.classes;
    let context = if found.conditioning.classes == classes {
        "all weights"
    } else {
        "all weights but the context vectors, which are for another number of classes"
    };
    let transformer = if found.conditioning.classes == classes {
        trained
    } else {
        fresh.with_dit(trained.dit().clone())
    };
    Ok((
        transformer,
        Some(format!("starts from {}: {context}", dir.display())),
    ))
}

/// Checks that weights of the network `found` fit the network `wanted`, which may be for clips of
/// another length where positions allow it.
fn check(found: &DitConfig, wanted: &DitConfig) -> Result<()> {
    let of_length = DitConfig {
        num_frames: wanted.num_frames,
        ..found.clone()
    };
    ensure!(
        of_length == *wanted,
        "its transformer is another network than [transformer] describes: {}",
        toml::to_string(found)?.trim().replace('\n', ", ")
    );
    ensure!(
        wanted.num_frames <= found.num_frames || wanted.positions == PositionEmbedding::FrameRotary,
        "its transformer knows positions of {} frames and transformer.num_frames = {}; longer clips \
         are for positions = \"frame_rotary\"",
        found.num_frames,
        wanted.num_frames
    );
    Ok(())
}
