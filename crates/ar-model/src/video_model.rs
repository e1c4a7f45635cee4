use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use ar_diffusion::Diffusion;
use ar_vae::Vae;
use ar_weights::{Fault, KeyMap, WeightsSource, load_weights, save_weights};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::directory::{verify, write_directory};
use crate::{
    ModelConfig, ModelError, ModelFiles, Precision, TRANSFORMER_KEYS, Transformer, VAE_KEYS,
};

/// A model in memory: configuration and networks.
#[derive(Clone, Debug)]
pub struct VideoModel {
    config: ModelConfig,
    diffusion: Diffusion,
    transformer: Option<Transformer>,
    vae: Option<Vae>,
}

impl VideoModel {
    /// A freshly initialised model.
    ///
    /// # Errors
    /// If the configuration is invalid, or its networks do not fit together.
    pub fn init(config: ModelConfig, device: &Device) -> Result<Self, ModelError> {
        config.validate()?;
        let transformer = config
            .transformer
            .as_ref()
            .map(|dit| Transformer::new(dit, &config.conditioning, device))
            .transpose()?;
        let vae = config
            .vae
            .as_ref()
            .map(|vae| vae.init(device))
            .transpose()?;
        Ok(Self {
            diffusion: config.diffusion.init()?,
            transformer,
            vae,
            config,
        })
    }

    /// Reads a model directory.
    ///
    /// # Errors
    /// If a file is missing, damaged, or does not fit `config.toml`.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self, ModelError> {
        let dir = dir.as_ref();
        let files = ModelFiles::new(dir);
        Self::from_sources(
            files.read_config()?,
            WeightsSource::File(&files.transformer),
            WeightsSource::File(&files.vae),
            device,
        )
    }

    /// Reads a model from the bytes of the files of a model directory; a part that the
    /// configuration does not have is not read.
    ///
    /// # Errors
    /// If a file is damaged or does not fit the configuration.
    pub fn from_bytes(
        config: &str,
        transformer: &[u8],
        vae: &[u8],
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::from_sources(
            config.parse()?,
            WeightsSource::Bytes("transformer.safetensors", transformer),
            WeightsSource::Bytes("vae.safetensors", vae),
            device,
        )
    }

    pub(crate) fn from_sources(
        config: ModelConfig,
        transformer: WeightsSource<'_>,
        vae: WeightsSource<'_>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut model = Self::init(config, device)?;
        if let Some(network) = &mut model.transformer {
            load_verified(network, transformer, TRANSFORMER_KEYS)?;
        }
        if let Some(network) = &mut model.vae {
            load_verified(network, vae, VAE_KEYS)?;
        }
        Ok(model)
    }

    /// Writes a model directory, as [`write_directory`] does.
    ///
    /// # Errors
    /// If a weight is not finite, an existing directory has other files than a model's, or it cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>, precision: Precision) -> Result<(), ModelError> {
        write_directory(dir, |files| {
            if let Some(transformer) = &self.transformer {
                save_weights(transformer, &files.transformer, TRANSFORMER_KEYS, precision)?;
            }
            if let Some(vae) = &self.vae {
                save_weights(vae, &files.vae, VAE_KEYS, precision)?;
            }
            files.write_config(&self.config)
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The diffusion process.
    pub fn diffusion(&self) -> &Diffusion {
        &self.diffusion
    }

    /// The transformer.
    ///
    /// # Errors
    /// If the model has none.
    pub fn transformer(&self) -> Result<&Transformer, ModelError> {
        self.transformer.as_ref().ok_or(ModelError::NoPart {
            part: "transformer",
            hint: "train one with `ar-train diffusion`, or import one",
        })
    }

    /// The VAE.
    ///
    /// # Errors
    /// If the model has none.
    pub fn vae(&self) -> Result<&Vae, ModelError> {
        self.vae.as_ref().ok_or(ModelError::NoPart {
            part: "vae",
            hint: "train one with `ar-train vae`, import one, or ask for latents only",
        })
    }

    /// Puts a transformer into the model, with the configuration that goes with it.
    pub fn set_transformer(&mut self, transformer: Transformer) {
        self.config.transformer = Some(transformer.dit().config().clone());
        self.transformer = Some(transformer);
    }

    /// Puts a VAE into the model, with the configuration that goes with it.
    pub fn set_vae(&mut self, vae: Vae) {
        self.config.vae = Some(vae.config());
        self.vae = Some(vae);
    }

    /// The latents that diffusion works on: posterior means, on the unit sphere for an AR-VAE, standardised if the
    /// model has [latent statistics](crate::LatentStatistics).
    ///
    /// # Shapes
    /// - `pixels`: `[batch, frames, 3, height, width]` in `[0, 1]`
    /// - output: `[batch, frames, tokens, channels]`
    ///
    /// # Errors
    /// If the model has no VAE.
    pub fn encode(&self, pixels: Tensor<5>) -> Result<Tensor<4>, ModelError> {
        let latents = self.vae()?.encode(pixels).latents();
        check("encoder", "latents", &latents)?;
        Ok(match &self.config.latent_statistics {
            Some(statistics) => statistics.standardize(latents),
            None => latents,
        })
    }

    /// Pixels from the latents that diffusion works on; the inverse of [`VideoModel::encode`].
    ///
    /// # Shapes
    /// - `latents`: `[batch, frames, tokens, channels]`
    /// - output: `[batch, frames, 3, height, width]`, clamped to `[0, 1]`
    ///
    /// # Errors
    /// If the model has no VAE.
    pub fn decode(&self, latents: Tensor<4>) -> Result<Tensor<5>, ModelError> {
        let latents = match &self.config.latent_statistics {
            Some(statistics) => statistics.restore(latents),
            None => latents,
        };
        let pixels = self.vae()?.decode(latents);
        check("decoder", "pixels", &pixels)?;
        Ok(pixels.clamp(0.0, 1.0))
    }
}

/// Fails if a VAE makes values that are not finite, or so large that its weights must have exploded: they would be
/// clamped to black or white. It waits for the device.
fn check<const D: usize>(
    part: &'static str,
    what: &'static str,
    made: &Tensor<D>,
) -> Result<(), ModelError> {
    let found = match Fault::of(made) {
        None => return Ok(()),
        Some(Fault::Large(largest)) => format!("are as large as {largest:e}"),
        Some(Fault::NotFinite) => "are not finite (NaN or infinity)".into(),
    };
    Err(ModelError::NotFinite { part, what, found })
}

/// Reads weights, and checks their file against its checksum at the same time: both wait for the disk, which has to be
/// read only once. If the file is damaged, that is the error, rather than what follows from it.
fn load_verified<M: Module>(
    network: &mut M,
    source: WeightsSource<'_>,
    keys: KeyMap,
) -> Result<(), ModelError> {
    let WeightsSource::File(path) = source else {
        return Ok(load_weights(network, source, keys)?);
    };
    let (verified, loaded) = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, || verify(path));
        let loaded = load_weights(network, source, keys);
        let verified = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // The system has no threads left.
            Err(_) => verify(path),
        };
        (verified, loaded)
    });
    verified?;
    Ok(loaded?)
}
