use ar_model::{ModelConfig, VideoModel};
use ar_vae::VaeConfig;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};

use crate::{noise, small_diffusion};

/// The model of the small preset, without its VAE.
pub fn small_model() -> ModelConfig {
    let run = small_diffusion();
    ModelConfig {
        diffusion: run.diffusion,
        conditioning: run.conditioning,
        transformer: Some(run.transformer),
        ..ModelConfig::default()
    }
}

/// A model with meaningful outputs. Freshly initialised modulation and final layers are zero, so
/// outputs would not depend on the rest; therefore all weights get a little noise.
///
/// # Panics
/// If the configuration has no transformer.
pub fn perturbed_model(config: ModelConfig, device: &Device) -> VideoModel {
    let mut model = VideoModel::init(config, device).expect("a model");
    let transformer = model.transformer().expect("a transformer").clone();
    model.set_transformer(transformer.map(&mut Perturb));
    model
}

/// A model with only a VAE, whose outputs are meaningful although freshly initialised temporal
/// blocks and residuals are the identity.
///
/// # Panics
/// If the configuration is invalid.
pub fn perturbed_vae(vae: VaeConfig, device: &Device) -> VideoModel {
    let config = ModelConfig {
        vae: Some(vae),
        ..ModelConfig::default()
    };
    let mut model = VideoModel::init(config, device).expect("a model");
    let vae = model.vae().expect("a VAE").clone();
    model.set_vae(vae.map(&mut Perturb));
    model
}

struct Perturb;

impl ModuleMapper for Perturb {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weight| {
            let difference = noise(weight.dims(), &weight.device());
            weight + difference * 0.02
        })
    }
}
