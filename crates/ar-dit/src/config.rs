//! Hyper-parameters of the network.

use serde::{Deserialize, Serialize};

use crate::CausalMask;

/// How context and video tokens share a block (published checkpoints: [`MergeMode::ShareNorm`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MergeMode {
    /// The layer norm *replaces* the residual: sub-layers are added to normalised tokens; video tokens are modulated per frame, context tokens are not.
    #[default]
    ShareNorm,
    /// The usual residual around each sub-layer; otherwise like [`MergeMode::ShareNorm`].
    SeparateNorm,
    /// Like [`MergeMode::ShareNorm`], but context tokens are modulated like frame 0, and both sub-layers use the shift
    /// and scale of attention.
    #[serde(rename = "sharenorm_shift_first_t")]
    ShareNormShiftFirstT,
    /// A plain DiT: frame 0's timestep conditions every token.
    Reproduce,
}

/// How positions of tokens are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionEmbedding {
    /// A fixed sine-cosine table over the positions in the window, added to the video tokens (published checkpoints).
    #[default]
    SinCos,
    /// Rotary embeddings over the positions in the window, context included.
    Rotary,
    /// Rotary embeddings over frame and token between video tokens, with a fixed sine-cosine table over the tokens of a
    /// frame. A frame sees itself and the `num_frames - 1` frames before it.
    ///
    /// A frame's output depends on its distances to the frames it sees, and not on its position in the video, so videos
    /// can have any length. Needs [`CausalMask::TemporalCausal`](crate::CausalMask::TemporalCausal).
    FrameRotary,
}

/// Hyper-parameters of [`Dit`](crate::Dit). The default is the published size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DitConfig {
    /// Frames of the trained window, F. With [`PositionEmbedding::FrameRotary`], the number of frames that a frame
    /// sees, itself included; otherwise the most frames that the network accepts.
    pub num_frames: usize,
    /// Latent tokens per frame, L.
    pub tokens_per_frame: usize,
    /// Channels per latent token, C.
    pub in_channels: usize,
    /// Width of the tokens between blocks, D.
    pub hidden_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads; must divide `hidden_size`.
    pub num_heads: usize,
    /// Hidden width of the MLP divided by `hidden_size`.
    pub mlp_ratio: f64,
    /// How context and video share a block.
    pub merge_mode: MergeMode,
    /// Which tokens see which.
    pub causal_mask: CausalMask,
    /// How positions of tokens are encoded.
    pub positions: PositionEmbedding,
    /// LayerNorm of queries and keys per head.
    pub qk_norm: bool,
    /// Context vectors per sample.
    pub context_tokens: usize,
    /// Width of a context vector.
    pub context_dim: usize,
}

impl Default for DitConfig {
    fn default() -> Self {
        Self {
            num_frames: 16,
            tokens_per_frame: 32,
            in_channels: 4,
            hidden_size: 1152,
            depth: 28,
            num_heads: 16,
            mlp_ratio: 4.0,
            merge_mode: MergeMode::ShareNorm,
            causal_mask: CausalMask::VideoTemporalCausal,
            positions: PositionEmbedding::SinCos,
            qk_norm: false,
            context_tokens: 77,
            context_dim: 768,
        }
    }
}

/// More than any network's size: larger sizes overflow in products and exceed any memory.
const MOST: usize = 1 << 20;
/// More weights than any network has: hundreds of gigabytes.
const MOST_WEIGHTS: f64 = 1e11;

/// An invalid [`DitConfig`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DitConfigError {
    /// A size that must be positive is zero.
    #[error("transformer: {0} is 0; it must be at least 1")]
    Zero(&'static str),
    /// A size that no network has.
    #[error("transformer: {name} is {size}; it must be at most {MOST}")]
    TooLarge {
        /// The key.
        name: &'static str,
        /// Its value.
        size: usize,
    },
    /// More weights than any network has.
    #[error(
        "transformer: hidden_size, depth and mlp_ratio make a network of {weights:.0e} weights; at \
         most {MOST_WEIGHTS:.0e} are possible"
    )]
    TooManyWeights {
        /// Their approximate number.
        weights: f64,
    },
    /// The heads do not divide the width.
    #[error(
        "transformer: num_heads = {num_heads} does not divide hidden_size = {hidden_size} into \
         heads of an even size"
    )]
    Heads {
        /// Width of the tokens.
        hidden_size: usize,
        /// Attention heads.
        num_heads: usize,
    },
    /// Frame-rotary positions with a mask that lets information from later frames reach earlier ones.
    #[error(
        "transformer: positions = \"frame_rotary\" needs causal_mask = \"temporal_causal\", under \
         which context sees context only"
    )]
    FrameRotaryMask,
    /// Heads cannot be split into two halves of pairs.
    #[error(
        "transformer: positions = \"frame_rotary\" needs heads of a multiple of 4 channels, and \
         hidden_size / num_heads = {head_dim}"
    )]
    FrameRotaryHeads {
        /// Channels of a head.
        head_dim: usize,
    },
    /// The MLP has no hidden units.
    #[error("transformer: mlp_ratio = {0} leaves no hidden unit; 4 is usual")]
    MlpRatio(f64),
}

impl DitConfigError {
    /// The fields of [`DitConfig`] that caused the error.
    pub fn keys(&self) -> &[&'static str] {
        match self {
            Self::Zero(key) | Self::TooLarge { name: key, .. } => std::slice::from_ref(key),
            Self::TooManyWeights { .. } => &["hidden_size", "depth", "mlp_ratio"],
            Self::Heads { .. } => &["hidden_size", "num_heads"],
            Self::FrameRotaryMask => &["positions", "causal_mask"],
            Self::FrameRotaryHeads { .. } => &["positions", "hidden_size", "num_heads"],
            Self::MlpRatio(_) => &["mlp_ratio"],
        }
    }
}

impl DitConfig {
    /// The published size: 672 M parameters.
    pub fn published() -> Self {
        Self::default()
    }

    /// Hidden units of the MLP.
    pub fn mlp_hidden(&self) -> usize {
        (self.hidden_size as f64 * self.mlp_ratio) as usize
    }

    /// Whether a frame depends only on itself and earlier frames, so that the keys and values of
    /// finished frames can be cached.
    ///
    /// This requires [`CausalMask::TemporalCausal`], and a context that no frame's timestep modulates:
    /// [`MergeMode::ShareNorm`] or [`MergeMode::SeparateNorm`].
    pub fn is_causal(&self) -> bool {
        let context_is_constant = match self.merge_mode {
            MergeMode::ShareNorm | MergeMode::SeparateNorm => true,
            MergeMode::ShareNormShiftFirstT | MergeMode::Reproduce => false,
        };
        self.causal_mask == CausalMask::TemporalCausal && context_is_constant
    }

    /// Whether videos may have any length, because every frame has its own window, the frames before it. This is the
    /// case if the network [is causal](Self::is_causal) with [`PositionEmbedding::FrameRotary`].
    pub fn is_unbounded(&self) -> bool {
        self.is_causal() && self.positions == PositionEmbedding::FrameRotary
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// Names the first key that does not fit.
    pub fn validate(&self) -> Result<(), DitConfigError> {
        let sizes = [
            ("num_frames", self.num_frames),
            ("tokens_per_frame", self.tokens_per_frame),
            ("in_channels", self.in_channels),
            ("hidden_size", self.hidden_size),
            ("depth", self.depth),
            ("num_heads", self.num_heads),
            ("context_tokens", self.context_tokens),
            ("context_dim", self.context_dim),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(DitConfigError::Zero(name));
        }
        if let Some((name, size)) = sizes.into_iter().find(|&(_, size)| size > MOST) {
            return Err(DitConfigError::TooLarge { name, size });
        }
        // Even heads: rotary embeddings and the position table work on pairs.
        if !self.hidden_size.is_multiple_of(2 * self.num_heads) {
            return Err(DitConfigError::Heads {
                hidden_size: self.hidden_size,
                num_heads: self.num_heads,
            });
        }
        if self.positions == PositionEmbedding::FrameRotary {
            self.validate_frame_rotary()?;
        }
        if !self.mlp_ratio.is_finite() || self.mlp_hidden() == 0 {
            return Err(DitConfigError::MlpRatio(self.mlp_ratio));
        }
        // The number of width x width matrices in attention, modulation and MLP of a block.
        let matrices = 10.0 + 2.0 * self.mlp_ratio;
        let weights = self.depth as f64 * matrices * (self.hidden_size as f64).powi(2);
        if weights > MOST_WEIGHTS {
            return Err(DitConfigError::TooManyWeights { weights });
        }
        Ok(())
    }

    fn validate_frame_rotary(&self) -> Result<(), DitConfigError> {
        if self.causal_mask != CausalMask::TemporalCausal {
            return Err(DitConfigError::FrameRotaryMask);
        }
        let head_dim = self.hidden_size / self.num_heads;
        if !head_dim.is_multiple_of(4) {
            return Err(DitConfigError::FrameRotaryHeads { head_dim });
        }
        Ok(())
    }
}
