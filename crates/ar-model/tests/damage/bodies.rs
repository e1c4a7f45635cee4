//! Properties that must hold for any input: the bodies of property tests here, and of the fuzz targets in `fuzz`.

use std::fs;

use ar_model::{ModelConfig, VideoModel};
use burn::tensor::Device;

/// Text is either a configuration that survives writing and reading, or an error.
pub(crate) fn configuration(text: &str) {
    if let Ok(config) = text.parse::<ModelConfig>() {
        let again: ModelConfig = config.to_toml().parse().expect("what was written");
        assert_eq!(again, config);
    }
}

/// A model directory without checksums, with any contents, loads or is an error. Networks that are too large for a test
/// are skipped.
pub(crate) fn directory(config: &str, vae: &[u8]) {
    let Ok(parsed) = config.parse::<ModelConfig>() else {
        return;
    };
    let is_small = parsed.transformer.is_none()
        && parsed
            .vae
            .as_ref()
            .is_some_and(|vae| vae.image_size() <= 64);
    if !is_small {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.toml"), config).expect("a file");
    fs::write(folder.path().join("vae.safetensors"), vae).expect("a file");
    let _ = VideoModel::load(folder.path(), &Device::flex());
}
