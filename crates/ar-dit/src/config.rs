//! Hyper-parameters of the network.

use serde::{Deserialize, Serialize};

use crate::CausalMask;

/// How context and video tokens share a block (published checkpoints: [`MergeMode::ShareNorm`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMode {
    /// The layer norm *replaces* the residual: sub-layers are added to normalised tokens; video tokens are modulated per frame, context tokens are not.
    #[default]
    ShareNorm,
    /// The usual residual around each sub-layer; otherwise as [`MergeMode::ShareNorm`].
    SeparateNorm,
    /// As [`MergeMode::ShareNorm`], with context tokens modulated as frame 0 is, and attention's
    /// shift and scale in both sub-layers.
    #[serde(rename = "sharenorm_shift_first_t")]
    ShareNormShiftFirstT,
    /// A plain DiT: frame 0's timestep conditions every token.
    Reproduce,
}

/// How the network is told the position of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionEmbedding {
    /// A fixed sine-cosine table over the places in the window, added to the video tokens
    /// (published checkpoints).
    #[default]
    SinCos,
    /// Rotary embeddings over the places in the window, context included.
    Rotary,
    /// Rotary embeddings over frame and token between video tokens, with a fixed sine-cosine table
    /// over the tokens of a frame; a frame sees the `num_frames - 1` frames before it and itself.
    ///
    /// What a frame computes depends on its distance to the frames it sees and not on its place in
    /// the video, so videos have no end. Needs
    /// [`CausalMask::TemporalCausal`](crate::CausalMask::TemporalCausal).
    FrameRotary,
}

/// Hyper-parameters of [`Dit`](crate::Dit). The default is the published size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DitConfig {
    /// Frames of the trained window, F. With [`PositionEmbedding::FrameRotary`] the frames that a frame
    /// sees, its own included; otherwise the most that the network takes.
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
    /// Hidden width of the MLP over `hidden_size`.
    pub mlp_ratio: f64,
    /// How context and video share a block.
    pub merge_mode: MergeMode,
    /// Which tokens see which.
    pub causal_mask: CausalMask,
    /// How the network is told the position of a token.
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

/// More than any network's size: beyond it products overflow, and nothing has the memory.
const MOST: usize = 1 << 20;
/// Weights that no network has: hundreds of gigabytes.
const MOST_WEIGHTS: f64 = 1e11;

/// A [`DitConfig`] that describes no network.
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
        /// About how many.
        weights: f64,
    },
    /// Heads do not divide the width.
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
    /// Frame-rotary positions under a mask through which later frames reach earlier ones.
    #[error(
        "transformer: positions = \"frame_rotary\" needs causal_mask = \"temporal_causal\", under \
         which context sees context only"
    )]
    FrameRotaryMask,
    /// Heads do not split into two halves of pairs.
    #[error(
        "transformer: positions = \"frame_rotary\" needs heads of a multiple of 4 channels, and \
         hidden_size / num_heads = {head_dim}"
    )]
    FrameRotaryHeads {
        /// Channels of a head.
        head_dim: usize,
    },
    /// The MLP has no hidden unit.
    #[error("transformer: mlp_ratio = {0} leaves no hidden unit; 4 is usual")]
    MlpRatio(f64),
}

impl DitConfigError {
    /// The fields of [`DitConfig`] that are to blame.
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
    /// This takes [`CausalMask::TemporalCausal`] and a context that no frame's timestep modulates:
    /// [`MergeMode::ShareNorm`] or [`MergeMode::SeparateNorm`].
    pub fn is_causal(&self) -> bool {
        let context_is_constant = match self.merge_mode {
            MergeMode::ShareNorm | MergeMode::SeparateNorm => true,
            MergeMode::ShareNormShiftFirstT | MergeMode::Reproduce => false,
        };
        self.causal_mask == CausalMask::TemporalCausal && context_is_constant
    }

    /// Whether every frame has a window of its own, the frames before it, so that videos may have any
    /// length: a network that [is causal](Self::is_causal) with [`PositionEmbedding::FrameRotary`].
    pub fn is_unbounded(&self) -> bool {
        self.is_causal() && self.positions == PositionEmbedding::FrameRotary
    }

    /// Checks that the sizes fit each other.
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
        // Attention, modulation and the MLP of a block have so many matrices of width x width.
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
