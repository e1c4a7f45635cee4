use std::path::PathBuf;

use ar_diffusion::SamplerError;
use ar_dit::DitConfigError;
use ar_schedulers::ScheduleError;
use ar_vae::VaeConfigError;
use ar_weights::WeightsError;

/// A model that cannot be read, written or assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: std::io::Error,
    },
    /// A file is not as it was written.
    #[error(
        "{}: {source}; it is damaged or was edited (to use it as it is, delete checksums.txt)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The path is not a model directory.
    #[error(
        "{}: not a model directory; it must contain config.toml and transformer.safetensors, \
         vae.safetensors or both",
        path.display()
    )]
    NotAModel {
        /// The path.
        path: PathBuf,
    },
    /// The path is the folder of a run or of a checkpoint; the model is in another folder.
    #[error(
        "{}: this is {what} and not a model directory; name the model of the run, {}{}",
        path.display(),
        model.display(),
        if model.exists() { "" } else { ", which it writes with its first checkpoint" }
    )]
    RunFolder {
        /// The path given.
        path: PathBuf,
        /// What it is, a run or a checkpoint of one.
        what: &'static str,
        /// The model directory of the run.
        model: PathBuf,
    },
    /// `config.toml` does not parse, or has an unknown key.
    #[error("model configuration: {0}")]
    Parse(#[from] toml::de::Error),
    /// The transformer's sizes do not fit together.
    #[error(transparent)]
    Transformer(#[from] DitConfigError),
    /// The VAE's sizes do not fit together.
    #[error(transparent)]
    Vae(#[from] VaeConfigError),
    /// The noise schedule is invalid.
    #[error("diffusion.schedule: {0}")]
    Schedule(#[from] ScheduleError),
    /// Steps, step difference, frames and window do not fit each other.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// Transformer and VAE have different latents.
    #[error(
        "the transformer works on {transformer} and the vae on {vae} latents a frame \
         (tokens x channels); they must be equal"
    )]
    Latents {
        /// Tokens and channels of the transformer.
        transformer: String,
        /// Tokens and channels of the VAE.
        vae: String,
    },
    /// The latent statistics do not fit the transformer.
    #[error(
        "latent_statistics: mean and std must each have {tokens} rows (tokens) of {channels} \
         values (channels), from -65504 to 65504, and all deviations must be positive"
    )]
    Statistics {
        /// Tokens of the transformer.
        tokens: usize,
        /// Channels of the transformer.
        channels: usize,
    },
    /// The configuration describes neither part.
    #[error("model configuration: neither [transformer] nor [vae] is given; at least one must be")]
    Empty,
    /// The model does not have a part that is needed.
    #[error("this model has no {part}: {hint}")]
    NoPart {
        /// The part.
        part: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// Weights cannot be read or written, or do not fit the configuration.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights do not fit the configuration that the user provided for them.
    #[error("{0}; without --config, the sizes are inferred from the tensors")]
    Described(WeightsError),
    /// A file contains another network than expected.
    #[error("{file}: not {what}: {reason}")]
    OtherNetwork {
        /// The file.
        file: String,
        /// The expected network.
        what: String,
        /// The tensor that is missing, what the file holds, and what to do.
        reason: String,
    },
    /// The configuration of a network cannot be inferred from its tensors.
    #[error("{file}: {reason}")]
    NotInferred {
        /// The file.
        file: String,
        /// The tensor that is missing or has another shape, and what to do.
        reason: String,
    },
    /// The context vectors in a file do not match its configuration.
    #[error(
        "{file}: {found} and should have {expected}: set conditioning.classes = {classes} in the \
         configuration; without --config, the sizes are inferred from the tensors"
    )]
    Context {
        /// The file.
        file: String,
        /// The tensor in the file and its shape, in words.
        found: String,
        /// The expected shape, or the other tensor that is expected and its shape.
        expected: String,
        /// The number of classes that the file is for.
        classes: usize,
    },
    /// The checkpoints of a transformer and of a VAE that were not trained together.
    #[error(
        "{transformer}: diffusion_model.model.x_embedder.weight has shape [{width}, {channels}] and \
         {vae}: decoder.decoder_embed.weight has shape [{vae_width}, {vae_channels}]: the transformer \
         works on {channels} channels a token and the VAE makes {vae_channels}; give the VAE that \
         the transformer was trained with"
    )]
    OtherVae {
        /// The transformer's file.
        transformer: String,
        /// The transformer's width.
        width: usize,
        /// Channels of its latents.
        channels: usize,
        /// The VAE's file.
        vae: String,
        /// The VAE's width.
        vae_width: usize,
        /// Channels of its latents.
        vae_channels: usize,
    },
    /// What the VAE makes is nothing that can be shown.
    #[error(
        "the VAE's {part} makes {what} that {found}: its weights are broken, or have exploded in \
         training that diverged; take an earlier checkpoint, or train with a lower learning rate"
    )]
    NotFinite {
        /// `encoder` or `decoder`.
        part: &'static str,
        /// What it makes.
        what: &'static str,
        /// What is wrong with that.
        found: String,
    },
    /// A class that the model does not know.
    #[error("there is no class {class}: {known}")]
    Class {
        /// The given name or number.
        class: String,
        /// A description of the classes.
        known: String,
    },
    /// A default for sampling is invalid.
    #[error("sampling.{key} = {value}; it must be {expected}")]
    Sampling {
        /// The key.
        key: &'static str,
        /// Its value.
        value: f64,
        /// What would be right.
        expected: &'static str,
    },
    /// A standard deviation is negative or not finite.
    #[error("conditioning.initial_deviation is {0}; it must be a finite number of at least 0")]
    InitialDeviation(f64),
    /// The number of class names is not the number of classes.
    #[error(
        "conditioning.class_names has {names} names, but conditioning.classes = {classes}; there \
         must be as many names as classes, or none"
    )]
    ClassNames {
        /// Number of names.
        names: usize,
        /// Classes.
        classes: usize,
    },
}

impl ModelError {
    /// The keys of [`ModelConfig`](crate::ModelConfig) that caused the error, with their sections:
    /// `transformer.num_heads`. Empty if it was not the configuration.
    pub fn keys(&self) -> Vec<String> {
        let (section, keys): (_, &[&str]) = match self {
            Self::Transformer(error) => ("transformer", error.keys()),
            Self::Vae(error) => ("vae", error.keys()),
            Self::Schedule(error) => ("diffusion.schedule", error.keys()),
            Self::Sampler(error) => ("sampling", error.keys()),
            Self::Latents { .. } => ("transformer", &["tokens_per_frame", "in_channels"]),
            Self::Statistics { .. } => ("latent_statistics", &["mean", "std"]),
            Self::Sampling { key, .. } => ("sampling", &[*key]),
            Self::InitialDeviation(_) => ("conditioning", &["initial_deviation"]),
            Self::ClassNames { .. } => ("conditioning", &["class_names", "classes"]),
            _ => ("", &[]),
        };
        keys.iter().map(|key| format!("{section}.{key}")).collect()
    }

    /// The same error after the folder of the file has been renamed.
    pub(crate) fn moved(self, from: &std::path::Path, to: &std::path::Path) -> Self {
        match self {
            Self::Io { path, source } => Self::Io {
                path: path
                    .strip_prefix(from)
                    .map_or(path.clone(), |rest| to.join(rest)),
                source,
            },
            Self::Weights(error) => Self::Weights(error.moved(from, to)),
            error => error,
        }
    }

    pub(crate) fn damaged(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        move |source| match source.kind() {
            std::io::ErrorKind::InvalidData => Self::Damaged {
                path: path.to_owned(),
                source,
            },
            _ => Self::Io {
                path: path.to_owned(),
                source,
            },
        }
    }

    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
