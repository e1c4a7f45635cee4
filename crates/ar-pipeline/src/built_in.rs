//! The built-in model of the world of bouncing shapes.

pub(crate) const CONFIG: &str = include_str!("../model/config.toml");
pub(crate) const TRANSFORMER: &[u8] = include_bytes!("../model/transformer.safetensors");
pub(crate) const VAE: &[u8] = include_bytes!("../model/vae.safetensors");
