use std::fmt;

use ar_weights::Checkpoint;

use crate::ModelError;

/// The layer with which an AR-VAE reads codes, and the tensor that an image tokenizer has in its
/// place.
const CODES: &str = "pixel_quantize_conv.weight";
const CODEBOOK: &str = "pixel_quantize.embedding.weight";

/// The kind of network in a file of weights, recognised by the names of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkKind {
    /// A diffusion transformer, with or without a VAE.
    Diffusion,
    /// An AR-VAE.
    Vae,
    /// An image tokenizer (TiTok) in the layout of an AR-VAE, with a codebook.
    ImageTokenizer,
    /// Our convolutional VAE.
    ConvVae,
}

impl NetworkKind {
    /// The kind of network in a file; the first that matches.
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

    /// Fails if `file` is not of this kind; `advise` says what to do with the kind that was found.
    ///
    /// # Errors
    /// If `file` is of another kind; the message names the missing tensor.
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
