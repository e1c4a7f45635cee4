use std::fmt;
use std::path::{Path, PathBuf};

use ar_diffusion::DiffusionConfig;
use ar_vae::VaeConfig;
use ar_weights::{Checkpoint, check_weights};
use burn::tensor::Device;

use crate::directory::{open_checkpoint, write_directory};
use crate::infer::{self, Known, NotInferred};
use crate::ucf101::CLASSES;
use crate::{
    ClassRows, ConditioningConfig, ModelConfig, ModelError, NetworkKind, Precision, SamplingConfig,
    TRANSFORMER_KEYS, Transformer, VAE_KEYS,
};

/// The prefix of a VAE's tensors in the file of a diffusion model.
const VAE_INSIDE: &str = "vae.";

/// What to import, and how.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The checkpoint of a diffusion model: a safetensors or PyTorch file. It may contain the VAE, too.
    pub transformer: Option<PathBuf>,
    /// The checkpoint of an AR-VAE.
    pub vae: Option<PathBuf>,
    /// The configuration of the checkpoints; by default, it is inferred from their tensors.
    pub config: Option<ModelConfig>,
    /// Frames of the clips that the transformer was trained on; by default 16, as published.
    pub frames: Option<usize>,
    /// Attention heads of the transformer; by default, one per 72 channels, or else one per 64.
    pub heads: Option<usize>,
    /// Attention heads of the VAE; by default, one per 64 channels.
    pub vae_heads: Option<usize>,
    /// Precision of the files that are written.
    pub precision: Precision,
}

/// What was found. It displays as a few lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The configuration of the model directory.
    pub config: ModelConfig,
    /// Whether the VAE was in the file of the diffusion model.
    pub vae_inside: bool,
    /// Whether the configuration was inferred from the tensors.
    pub inferred: bool,
}

/// Makes a model directory from published checkpoints. Sizes are inferred from the tensors; everything else is set as
/// published. Tensors are copied one at a time, so memory is needed only for the largest.
///
/// # Errors
/// If a file cannot be read, is cut off, or contains another network; the message names the tensor. Nothing is written
/// then.
pub fn import(options: &ImportOptions, out: impl AsRef<Path>) -> Result<Imported, ModelError> {
    let open = |path: &PathBuf| open_checkpoint(path);
    let diffusion = options.transformer.as_ref().map(open).transpose()?;
    let inside = diffusion.as_ref().map(|file| file.below(VAE_INSIDE));
    let inside = inside.filter(|vae| {
        let is_wanted = options
            .config
            .as_ref()
            .is_none_or(|config| config.vae.is_some());
        is_wanted && vae.keys().next().is_some()
    });
    let transformer = diffusion.map(|mut file| {
        file.retain(|key| !key.starts_with(VAE_INSIDE));
        file
    });
    let given = options.vae.as_ref().map(open).transpose()?;
    let vae_inside = given.is_none() && inside.is_some();
    let vae = given.or(inside);
    if transformer.is_none() && vae.is_none() {
        return Err(ModelError::Empty);
    }

    if let Some(file) = &transformer {
        NetworkKind::Diffusion.check(file, advice)?;
    }
    let described = options
        .config
        .as_ref()
        .and_then(|config| config.vae.as_ref());
    match (&vae, described) {
        (Some(file), Some(VaeConfig::Conv(_))) => {
            NetworkKind::ConvVae.check(file, |found| match found {
                NetworkKind::Vae => {
                    "leave out --config, which describes a convolutional one".into()
                }
                found => advice(found),
            })?;
        }
        (Some(file), _) => NetworkKind::Vae.check(file, advice)?,
        (None, _) => {}
    }

    let config = match &options.config {
        Some(config) => restrict(config, transformer.is_some(), vae.is_some())?,
        None => describe(options, transformer.as_ref(), vae.as_ref())?,
    };
    config.validate()?;
    let parts = Parts { transformer, vae };
    let parts = parts.checked(&config, options.config.is_some())?;
    parts.save(out.as_ref(), &config, options.precision)?;
    Ok(Imported {
        config,
        vae_inside,
        inferred: options.config.is_none(),
    })
}

/// The configuration without the parts for which there is no file.
fn restrict(
    config: &ModelConfig,
    has_transformer: bool,
    has_vae: bool,
) -> Result<ModelConfig, ModelError> {
    let missing = |part| ModelError::NoPart {
        part,
        hint: "add one that describes the checkpoint, or omit --config",
    };
    if has_transformer && config.transformer.is_none() {
        return Err(missing("[transformer] section in its configuration"));
    }
    if has_vae && config.vae.is_none() {
        return Err(missing("[vae] section in its configuration"));
    }
    let ConditioningConfig {
        classes,
        class_names,
        ..
    } = &config.conditioning;
    if has_transformer && !class_names.is_empty() && class_names.len() != *classes {
        return Err(ModelError::ClassNames {
            names: class_names.len(),
            classes: *classes,
        });
    }
    Ok(ModelConfig {
        transformer: config.transformer.clone().filter(|_| has_transformer),
        vae: config.vae.clone().filter(|_| has_vae),
        ..config.clone()
    })
}

/// The configuration, inferred from the tensors as far as possible, and as published otherwise.
fn describe(
    options: &ImportOptions,
    transformer: Option<&Checkpoint>,
    vae: Option<&Checkpoint>,
) -> Result<ModelConfig, ModelError> {
    let vae_config = vae
        .map(|file| infer::vae(&file.shapes(), options.vae_heads).map_err(not_inferred(file)))
        .transpose()?;
    let mut config = ModelConfig {
        name: "published".into(),
        vae: vae_config.clone().map(VaeConfig::Transformer),
        ..ModelConfig::default()
    };
    let Some(file) = transformer else {
        return Ok(config);
    };
    let known = Known {
        vae: vae
            .zip(vae_config.as_ref())
            .map(|(file, vae)| (file.name(), [vae.latent_tokens, vae.width])),
        frames: options.frames,
        heads: options.heads,
    };
    let found = infer::transformer(&file.shapes(), known).map_err(not_inferred(file))?;
    if let (Some(vae), Some(vae_file)) = (&vae_config, vae)
        && vae.latent_channels != found.dit.in_channels
    {
        return Err(ModelError::OtherVae {
            transformer: file.name().to_owned(),
            width: found.dit.hidden_size,
            channels: found.dit.in_channels,
            vae: vae_file.name().to_owned(),
            vae_width: vae.width,
            vae_channels: vae.latent_channels,
        });
    }
    let classes = found.class_rows.map_or(0, |rows| rows - 1);
    config.conditioning = ConditioningConfig {
        classes,
        class_rows: ClassRows::Published,
        trainable: false,
        initial_deviation: 0.1,
        class_names: if classes == CLASSES.len() {
            CLASSES.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        },
    };
    config.diffusion = DiffusionConfig::default();
    if let Some(timesteps) = found.timesteps {
        config.diffusion.schedule.timesteps = timesteps;
    }
    config.sampling = published_sampling(classes);
    config.transformer = Some(found.dit);
    Ok(config)
}

/// How the published models are sampled: 50 steps, a step difference of 5, and guidance 2 without
/// classes, 1 with them.
fn published_sampling(classes: usize) -> SamplingConfig {
    SamplingConfig {
        steps: 50,
        ar_step: 5,
        eta: 0.0,
        guidance: if classes == 0 { 2.0 } else { 1.0 },
        fps: 16.0,
        scale: 1,
    }
}

/// What to do with a file that holds another kind of network than expected.
fn advice(found: NetworkKind) -> String {
    match found {
        NetworkKind::ImageTokenizer => {
            "train a VAE from it, with start_from of `ar-train vae`".into()
        }
        NetworkKind::ConvVae => "describe it in [vae] of a configuration, with --config".into(),
        _ => format!("give it as {}", found.import_option()),
    }
}

fn not_inferred(file: &Checkpoint) -> impl FnOnce(NotInferred) -> ModelError + '_ {
    |NotInferred(reason)| ModelError::NotInferred {
        file: file.name().to_owned(),
        reason,
    }
}

/// Fails if the context vectors of `file` are for another number of classes than `config` says.
fn check_context(file: &Checkpoint, config: &ModelConfig) -> Result<(), ModelError> {
    let Some(dit) = &config.transformer else {
        return Ok(());
    };
    let [tokens, width] = [dit.context_tokens, dit.context_dim];
    let expected = match config.conditioning.classes {
        0 => ("context_emb", vec![tokens, width]),
        classes => ("class_emb", vec![classes + 1, tokens, width]),
    };
    let key = ["context_emb", "class_emb"]
        .into_iter()
        .find(|key| file.shape(key).is_some());
    let Some((key, shape)) = key.and_then(|key| Some((key, file.shape(key)?))) else {
        return Err(ModelError::NotInferred {
            file: file.name().to_owned(),
            reason: format!(
                "there is no tensor {}, which should have {:?}: give the whole checkpoint",
                expected.0, expected.1
            ),
        });
    };
    let classes = match (key, shape) {
        ("class_emb", &[rows, ..]) => rows.saturating_sub(1),
        _ => 0,
    };
    if classes == config.conditioning.classes {
        // The other axes depend on the network, not on the classes.
        return Ok(());
    }
    Err(ModelError::Context {
        file: file.name().to_owned(),
        found: format!("{key} has shape {shape:?}"),
        expected: if key == expected.0 {
            format!("{:?}", expected.1)
        } else {
            format!("{} of shape {:?} in its place", expected.0, expected.1)
        },
        classes,
    })
}

/// The files of the parts.
struct Parts {
    transformer: Option<Checkpoint>,
    vae: Option<Checkpoint>,
}

impl Parts {
    /// Only the tensors that the networks of `config` have, all of which must be there; no values are read.
    fn checked(self, config: &ModelConfig, is_given: bool) -> Result<Self, ModelError> {
        let device = Device::default();
        let advise = if is_given {
            ModelError::Described
        } else {
            ModelError::Weights
        };
        let transformer = match (self.transformer, &config.transformer) {
            (Some(mut file), Some(dit)) => {
                check_context(&file, config)?;
                let network = Transformer::new(dit, &config.conditioning, &device)?;
                check_weights(&network, &file, TRANSFORMER_KEYS).map_err(advise)?;
                let shapes = ar_weights::file_shapes(&network, TRANSFORMER_KEYS);
                file.retain(|key| shapes.contains_key(key));
                Some(file)
            }
            _ => None,
        };
        let vae = match (self.vae, &config.vae) {
            (Some(file), Some(vae)) => {
                check_weights(&vae.init(&device)?, &file, VAE_KEYS).map_err(advise)?;
                Some(file)
            }
            _ => None,
        };
        Ok(Self { transformer, vae })
    }

    /// Writes a model directory.
    fn save(
        &self,
        out: &Path,
        config: &ModelConfig,
        precision: Precision,
    ) -> Result<(), ModelError> {
        write_directory(out, |files| {
            if let Some(transformer) = &self.transformer {
                transformer.save(&files.transformer, precision)?;
            }
            if let Some(vae) = &self.vae {
                vae.save(&files.vae, precision)?;
            }
            files.write_config(config)
        })
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ModelConfig {
            transformer, vae, ..
        } = &self.config;
        if let Some(dit) = transformer {
            let classes = match self.config.conditioning.classes {
                0 => "unconditional".into(),
                classes => format!("{classes} classes"),
            };
            write!(
                f,
                "transformer: {} layers of width {}, {} heads; {} frames of {} tokens of {} \
                 channels; {classes}",
                dit.depth,
                dit.hidden_size,
                dit.num_heads,
                dit.num_frames,
                dit.tokens_per_frame,
                dit.in_channels,
            )?;
        }
        if let Some(vae) = vae {
            if transformer.is_some() {
                writeln!(f)?;
            }
            let [tokens, channels] = vae.latents();
            let size = vae.image_size();
            write!(
                f,
                "vae: {size} x {size} pixels, {tokens} tokens of {channels} channels"
            )?;
            if let VaeConfig::Transformer(vae) = vae {
                let temporal = if vae.temporal { "with" } else { "without" };
                write!(
                    f,
                    "; {} layers of width {}, {} heads, patches of {}, {temporal} temporal blocks",
                    vae.layers, vae.width, vae.heads, vae.patch_size
                )?;
            }
            if self.vae_inside {
                write!(f, "; from the transformer's file")?;
            }
        }
        if self.inferred && transformer.is_some() {
            write!(
                f,
                "\nas published, because tensors do not say: mask, merge mode, x0, linear \
                 schedule; sampling with {} steps, ar_step {}, guidance {}",
                self.config.sampling.steps,
                self.config.sampling.ar_step,
                self.config.sampling.guidance
            )?;
        }
        Ok(())
    }
}
