use std::fmt;

use ar_weights::Checkpoint;

use crate::ModelError;

/// What an AR-VAE reads codes with, and what an image tokenizer has in its place.
const CODES: &str = "pixel_quantize_conv.weight";
const CODEBOOK: &str = "pixel_quantize.embedding.weight";

/// A kind of network that files of weights hold, told by the names of their tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkKind {
    /// A diffusion transformer, with a VAE inside or not.
    Diffusion,
    /// An AR-VAE.
    Vae,
    /// An image tokenizer (TiTok) in the layout of an AR-VAE, with a codebook.
    ImageTokenizer,
    /// A convolutional VAE of ours.
    ConvVae,
}

impl NetworkKind {
    /// The kind of network whose tensors a file has; a file of several is of the first.
    pub fn of(file: &Checkpoint) -> Option<Self> {
        let has = |key: &str| file.shape(key).is_some();
        if has(Self::Diffusion.first_tensor()) {
            Some(Self::Diffusion)
        } else if has(Self::Vae.first_tensor()) {
            Some(if has(CODEBOOK) && !has(CODES) {
                Self::ImageTokenizer
            } else {
                Self::Vae
            })
        } else if has(Self::ConvVae.first_tensor()) {
            Some(Self::ConvVae)
        } else {
            None
        }
    }

    /// A tensor that every network of the kind has.
    pub fn first_tensor(self) -> &'static str {
        match self {
            Self::Diffusion => "diffusion_model.model.x_embedder.weight",
            Self::Vae | Self::ImageTokenizer => "encoder.patch_embed.weight",
            Self::ConvVae => "latent_embed.weight",
        }
    }

    /// The option of `ar-train import` that takes such a file.
    pub fn import_option(self) -> &'static str {
        match self {
            Self::Diffusion => "--transformer",
            _ => "--vae",
        }
    }

    /// Fails if `file` is not of this kind; `advise` says what to do with the kind that it is of.
    ///
    /// # Errors
    /// In that case; the message names the tensor that is missing.
    pub fn check(
        self,
        file: &Checkpoint,
        advise: impl FnOnce(Self) -> String,
    ) -> Result<(), ModelError> {
        let found = Self::of(file);
        if found.is_some_and(|found| found == self) {
            return Ok(());
        }
        let reason = match (found, file.keys().next()) {
            (Some(found), _) => format!("this is {found}: {}", advise(found)),
            (None, Some(key)) => format!(
                "its tensors are of another network, the first is {key}: give the file of {self}"
            ),
            (None, None) => format!("it holds no tensors: give the file of {self}"),
        };
        let missing = match found {
            Some(Self::ImageTokenizer) if self == Self::Vae => CODES,
            _ => self.first_tensor(),
        };
        Err(ModelError::OtherNetwork {
            file: file.name().to_owned(),
            what: self.to_string(),
            reason: format!("there is no tensor {missing}; {reason}"),
        })
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diffusion => "a diffusion transformer",
            Self::Vae => "an AR-VAE",
            Self::ImageTokenizer => "an image tokenizer with a codebook",
            Self::ConvVae => "a convolutional VAE",
        })
    }
}
