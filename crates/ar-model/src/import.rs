use std::path::Path;

use ar_weights::WeightsSource;
use burn::tensor::Device;

use crate::{ModelConfig, ModelError, VideoModel};

/// Reads published checkpoints, safetensors or PyTorch files: a transformer, a VAE, or both. A part
/// without a file is dropped from the configuration.
///
/// # Errors
/// If a file is given for a part that `config` does not describe, or does not fit it; the message
/// names the tensor.
pub fn import(
    mut config: ModelConfig,
    transformer: Option<&Path>,
    vae: Option<&Path>,
    device: &Device,
) -> Result<VideoModel, ModelError> {
    let absent = WeightsSource::Bytes("no file", &[]);
    if transformer.is_some() && config.transformer.is_none() {
        return Err(ModelError::NoPart {
            part: "[transformer] section in its configuration",
            hint: "add one that describes the checkpoint",
        });
    }
    if vae.is_some() && config.vae.is_none() {
        return Err(ModelError::NoPart {
            part: "[vae] section in its configuration",
            hint: "add one that describes the checkpoint",
        });
    }
    config.transformer = config.transformer.filter(|_| transformer.is_some());
    config.vae = config.vae.filter(|_| vae.is_some());
    VideoModel::from_sources(
        config,
        transformer.map_or(absent, WeightsSource::File),
        vae.map_or(absent, WeightsSource::File),
        device,
    )
}
