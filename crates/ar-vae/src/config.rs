use serde::{Deserialize, Serialize};

/// Hyper-parameters of [`ArVae`](crate::ArVae). The default is the size "base" for
/// 256 x 256 frames, without temporal blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArVaeConfig {
    /// Side of the square frames, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels: a power of two, `2^(pixel decoder levels - 1)`.
    pub patch_size: usize,
    /// Width of both transformers.
    pub width: usize,
    /// Layers of each transformer.
    pub layers: usize,
    /// Attention heads; must divide `width`.
    pub heads: usize,
    /// Latent tokens per frame, L.
    pub latent_tokens: usize,
    /// Channels per latent token, C.
    pub latent_channels: usize,
    /// Channels of the softmax between the transformer and the pixel decoder.
    pub codebook_channels: usize,
    /// Whether decoding attends between frames (the temporal stage's decoder).
    pub temporal: bool,
    /// The convolutional part of the decoder.
    pub pixel_decoder: PixelDecoderConfig,
}

/// Hyper-parameters of [`PixelDecoder`](crate::PixelDecoder).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PixelDecoderConfig {
    /// Channels at full resolution before the multiplier.
    pub hidden_channels: usize,
    /// Channel multiplier of each level, from full resolution to the coarsest; every level except
    /// the first doubles the resolution.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks per level.
    pub res_blocks: usize,
    /// Channels of the decoder's input.
    pub z_channels: usize,
    /// Groups of every group norm (published: 32); must divide the channels of every level.
    pub norm_groups: usize,
}

impl Default for ArVaeConfig {
    fn default() -> Self {
        Self {
            image_size: 256,
            patch_size: 16,
            width: 768,
            layers: 12,
            heads: 12,
            latent_tokens: 32,
            latent_channels: 4,
            codebook_channels: 1024,
            temporal: false,
            pixel_decoder: PixelDecoderConfig::default(),
        }
    }
}

impl Default for PixelDecoderConfig {
    fn default() -> Self {
        Self {
            hidden_channels: 128,
            channel_multipliers: vec![1, 1, 2, 2, 4],
            res_blocks: 2,
            z_channels: 256,
            norm_groups: 32,
        }
    }
}

/// An invalid configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VaeConfigError {
    /// A size that must be positive is zero.
    #[error("vae: {0} is 0; it must be at least 1")]
    Zero(&'static str),
    /// A size that no network has.
    #[error("vae: {name} is {size}; it must be at most {MOST}")]
    TooLarge {
        /// The key.
        name: &'static str,
        /// Its value.
        size: usize,
    },
    /// More weights than any network has.
    #[error(
        "vae: width and layers make a network of {weights:.0e} weights; at most {MOST_WEIGHTS:.0e} are possible"
    )]
    TooManyWeights {
        /// Their approximate number.
        weights: f64,
    },
    /// Patches do not tile the frame.
    #[error("vae: patch_size = {patch_size} does not divide image_size = {image_size}")]
    Patches {
        /// Side of the frame.
        image_size: usize,
        /// Side of a patch.
        patch_size: usize,
    },
    /// Tokens do not tile the frame.
    #[error(
        "vae: image_size = {image_size} has to be a multiple of {}, which is patch_size = \
         {patch_size} doubled by each level of channels after the first",
        patch_size << (levels - 1)
    )]
    Tokens {
        /// Side of the frame.
        image_size: usize,
        /// Side of a patch.
        patch_size: usize,
        /// Levels of resolution.
        levels: usize,
    },
    /// The heads do not divide the width.
    #[error("vae: heads = {heads} does not divide width = {width}")]
    Heads {
        /// Transformer width.
        width: usize,
        /// Attention heads.
        heads: usize,
    },
    /// The pixel decoder's levels do not scale a patch up to its pixels.
    #[error(
        "vae: pixel_decoder.channel_multipliers has {levels} levels, which scale by {scale}; \
         patch_size = {patch_size} needs one level more than its power of two"
    )]
    Levels {
        /// Number of levels.
        levels: usize,
        /// Their scale.
        scale: usize,
        /// Side of a patch.
        patch_size: usize,
    },
    /// Group norm cannot split a level's channels.
    #[error(
        "vae: pixel_decoder.norm_groups = {groups} does not divide the {channels} channels of a level"
    )]
    Groups {
        /// Groups of the norm.
        groups: usize,
        /// Channels of the level.
        channels: usize,
    },
}

impl VaeConfigError {
    /// The fields of the configuration that caused the error.
    pub fn keys(&self) -> &[&'static str] {
        match self {
            Self::Zero(key) | Self::TooLarge { name: key, .. } => std::slice::from_ref(key),
            Self::TooManyWeights { .. } => &["width", "layers"],
            Self::Patches { .. } => &["image_size", "patch_size"],
            Self::Tokens { .. } => &["image_size", "patch_size", "channels"],
            Self::Heads { .. } => &["width", "heads"],
            Self::Levels { .. } => &["pixel_decoder.channel_multipliers", "patch_size"],
            Self::Groups { .. } => &["pixel_decoder.norm_groups"],
        }
    }
}

impl ArVaeConfig {
    /// The published "small" size.
    pub fn small() -> Self {
        Self {
            width: 512,
            layers: 8,
            heads: 8,
            ..Self::base()
        }
    }

    /// The "base" size of the reference implementation.
    pub fn base() -> Self {
        Self::default()
    }

    /// The "large" size, which published checkpoints have.
    pub fn large() -> Self {
        Self {
            width: 1024,
            layers: 24,
            heads: 16,
            ..Self::base()
        }
    }

    /// Patches along one side of a frame.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Latents of a frame, `[tokens, channels]`.
    pub fn latents(&self) -> [usize; 2] {
        [self.latent_tokens, self.latent_channels]
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// Names the first key that does not fit.
    pub fn validate(&self) -> Result<(), VaeConfigError> {
        let pixel = &self.pixel_decoder;
        let sizes = [
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("latent_tokens", self.latent_tokens),
            ("latent_channels", self.latent_channels),
            ("codebook_channels", self.codebook_channels),
            ("pixel_decoder.hidden_channels", pixel.hidden_channels),
            ("pixel_decoder.res_blocks", pixel.res_blocks),
            ("pixel_decoder.z_channels", pixel.z_channels),
            ("pixel_decoder.norm_groups", pixel.norm_groups),
            (
                "pixel_decoder.channel_multipliers",
                pixel.channel_multipliers.iter().copied().min().unwrap_or(0),
            ),
            (
                "pixel_decoder.channel_multipliers",
                pixel.channel_multipliers.iter().copied().max().unwrap_or(0),
            ),
        ];
        check_sizes(&sizes)?;
        if !self.image_size.is_multiple_of(self.patch_size) {
            return Err(VaeConfigError::Patches {
                image_size: self.image_size,
                patch_size: self.patch_size,
            });
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(VaeConfigError::Heads {
                width: self.width,
                heads: self.heads,
            });
        }
        // Each of the two transformers has about 12 matrices of width x width per layer.
        let weights = 24.0 * self.layers as f64 * (self.width as f64).powi(2);
        if weights > MOST_WEIGHTS {
            return Err(VaeConfigError::TooManyWeights { weights });
        }
        let levels = pixel.channel_multipliers.len();
        let scale = 1usize.checked_shl(levels as u32 - 1).unwrap_or(0);
        if scale != self.patch_size {
            return Err(VaeConfigError::Levels {
                levels,
                scale,
                patch_size: self.patch_size,
            });
        }
        for multiplier in &pixel.channel_multipliers {
            let channels = pixel.hidden_channels * multiplier;
            if !channels.is_multiple_of(pixel.norm_groups) {
                return Err(VaeConfigError::Groups {
                    groups: pixel.norm_groups,
                    channels,
                });
            }
        }
        Ok(())
    }
}

/// More weights than any network has: hundreds of gigabytes.
const MOST_WEIGHTS: f64 = 1e11;

/// More than any network's size: larger sizes overflow in products and exceed any memory.
const MOST: usize = 1 << 16;

/// Refuses sizes of 0, and sizes that no network has.
pub(crate) fn check_sizes(sizes: &[(&'static str, usize)]) -> Result<(), VaeConfigError> {
    for &(name, size) in sizes {
        match size {
            0 => return Err(VaeConfigError::Zero(name)),
            1..=MOST => {}
            _ => return Err(VaeConfigError::TooLarge { name, size }),
        }
    }
    Ok(())
}
