//! Where models come from.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ar_data::{VideoBatch, VideoItem};
use ar_model::{ModelConfig, ModelError, ModelFiles, VideoModel};
use ar_video::{Clip, Frame};
use burn::tensor::{Device, Tensor};

use crate::fingerprint::Fingerprint;

/// The model that is built in.
const CONFIG: &str = include_str!("../model/config.toml");
const TRANSFORMER: &[u8] = include_bytes!("../model/transformer.safetensors");
const VAE: &[u8] = include_bytes!("../model/vae.safetensors");

/// A model that is not loaded yet.
#[derive(Clone, Debug)]
pub enum ModelSource {
    BuiltIn,
    Directory(PathBuf),
}

impl ModelSource {
    /// The model directory, or the model that is built in.
    pub fn new(directory: Option<&Path>) -> Self {
        directory.map_or(Self::BuiltIn, |path| Self::Directory(path.to_owned()))
    }

    /// The configuration alone, which is enough to check what a user asks for.
    pub fn config(&self) -> anyhow::Result<ModelConfig> {
        let path = match self {
            Self::BuiltIn => return CONFIG.parse().context("the built-in model"),
            Self::Directory(path) => path,
        };
        let file = ModelFiles::new(path).config;
        if !file.is_file() {
            return Err(ModelError::NotAModel { path: path.clone() }.into());
        }
        let text = std::fs::read_to_string(&file);
        text.map_err(anyhow::Error::new)
            .and_then(|text| Ok(text.parse::<ModelConfig>()?))
            .with_context(|| file.display().to_string())
    }

    /// The whole model.
    pub fn load(&self, device: &Device) -> anyhow::Result<VideoModel> {
        match self {
            Self::BuiltIn => VideoModel::from_bytes(CONFIG, TRANSFORMER, VAE, device)
                .context("the built-in model"),
            Self::Directory(path) => Ok(VideoModel::load(path, device)?),
        }
    }

    /// A number that tells the model's files from others, for models may have the same name.
    pub fn fingerprint(&self) -> anyhow::Result<Fingerprint> {
        let path = match self {
            Self::BuiltIn => {
                let files = [CONFIG.as_bytes(), TRANSFORMER, VAE];
                return Ok(files
                    .into_iter()
                    .fold(Fingerprint::NOTHING, Fingerprint::and));
            }
            Self::Directory(path) => path,
        };
        let ModelFiles {
            config,
            transformer,
            vae,
        } = ModelFiles::new(path);
        let files = [config, transformer, vae];
        let mut files = files.iter().filter(|file| file.is_file());
        files.try_fold(Fingerprint::NOTHING, |all, file| all.and_file(file))
    }

    /// What to call the model in reports.
    pub fn describe(&self) -> String {
        match self {
            Self::BuiltIn => "built in".into(),
            Self::Directory(path) => path.display().to_string(),
        }
    }
}

/// Opens a device by name, and says which one `auto` is.
pub fn open_device(name: &str) -> anyhow::Result<(String, Device)> {
    let device = ar_device::open(name)?;
    let name = match name {
        "auto" => ar_device::available().swap_remove(0).name,
        name => name.to_owned(),
    };
    Ok((name, device))
}

/// The latents of consecutive frames of the VAE's size, `[1, frames, tokens, channels]`.
///
/// # Panics
/// If there are none.
pub fn encode(model: &VideoModel, frames: &[Frame], device: &Device) -> anyhow::Result<Tensor<4>> {
    let item = VideoItem {
        clip: Clip::new(frames.to_vec()),
        label: None,
        source: 0,
    };
    let batch = VideoBatch::new(&[item], device);
    Ok(model.encode(batch.pixels)?)
}
