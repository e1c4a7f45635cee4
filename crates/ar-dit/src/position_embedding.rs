//! Tables of the position embeddings.

use std::ops::Range;

use ar_ops::position::SinCosTable;
use ar_ops::rotary::{FrameRotary, Rotary, RotaryEmbedding};
use burn::tensor::{Device, Tensor};

use crate::{DitConfig, PositionEmbedding};

/// The tables behind [`PositionEmbedding`].
#[derive(Clone, Debug)]
pub(crate) enum PositionTables {
    SinCos(SinCosTable),
    Rotary(Rotary),
    FrameRotary {
        rotary: FrameRotary,
        tokens: SinCosTable,
    },
}

impl PositionTables {
    pub(crate) fn new(config: &DitConfig) -> Self {
        let DitConfig {
            tokens_per_frame,
            hidden_size: width,
            ..
        } = *config;
        let head_dim = width / config.num_heads;
        let video_tokens = config.num_frames * tokens_per_frame;
        match config.positions {
            PositionEmbedding::SinCos => Self::SinCos(SinCosTable::new(video_tokens, width)),
            PositionEmbedding::Rotary => {
                Self::Rotary(Rotary::new(config.context_tokens + video_tokens, head_dim))
            }
            PositionEmbedding::FrameRotary => Self::FrameRotary {
                rotary: FrameRotary::new(tokens_per_frame, head_dim),
                tokens: SinCosTable::new(tokens_per_frame, width),
            },
        }
    }

    /// The rows of the fixed table that are added to the tokens of `frames` ([`add_rows`]).
    ///
    /// # Shapes
    /// - output: `[1, frames, tokens, width]`; a size of 1 broadcasts over `frames`
    pub(crate) fn rows(
        &self,
        config: &DitConfig,
        frames: Range<usize>,
        device: &Device,
    ) -> Option<Tensor<4>> {
        let (tokens, width) = (config.tokens_per_frame, config.hidden_size);
        let (table, frames) = match self {
            Self::SinCos(table) => (table, frames),
            Self::Rotary(_) => return None,
            Self::FrameRotary { tokens: table, .. } => (table, 0..1),
        };
        let rows = table.rows(frames.start * tokens..frames.end * tokens, device);
        Some(rows.reshape([1, frames.len(), tokens, width]))
    }

    /// RoPE of the sequence of context and `frames`.
    pub(crate) fn rotary_of_sequence(
        &self,
        config: &DitConfig,
        frames: Range<usize>,
        device: &Device,
    ) -> Option<RotaryEmbedding> {
        match self {
            Self::Rotary(rotary) => {
                assert_eq!(frames.start, 0, "positions in the window");
                Some(rotary.at(0..token(config, frames.end), device))
            }
            _ => self.rotary_of_video(config, frames, device),
        }
    }

    /// RoPE of the context.
    pub(crate) fn rotary_of_context(
        &self,
        config: &DitConfig,
        device: &Device,
    ) -> Option<RotaryEmbedding> {
        match self {
            Self::Rotary(rotary) => Some(rotary.at(0..token(config, 0), device)),
            // A rotated query would reveal its absolute frame number.
            Self::SinCos(_) | Self::FrameRotary { .. } => None,
        }
    }

    /// RoPE of the tokens of `frames`.
    pub(crate) fn rotary_of_video(
        &self,
        config: &DitConfig,
        frames: Range<usize>,
        device: &Device,
    ) -> Option<RotaryEmbedding> {
        match self {
            Self::SinCos(_) => None,
            Self::Rotary(rotary) => {
                let tokens = token(config, frames.start)..token(config, frames.end);
                Some(rotary.at(tokens, device))
            }
            Self::FrameRotary { rotary, .. } => Some(rotary.at(frames, device)),
        }
    }
}

/// The position of a frame's first token in the sequence of context and window.
fn token(config: &DitConfig, frame: usize) -> usize {
    config.context_tokens + frame * config.tokens_per_frame
}

/// Adds [rows](PositionTables::rows) of a fixed table to video tokens.
///
/// # Shapes
/// - `video` and output: `[batch, frames, tokens, width]`
pub(crate) fn add_rows(video: Tensor<4>, rows: Option<Tensor<4>>) -> Tensor<4> {
    match rows {
        Some(rows) => {
            let rows = rows.cast(video.dtype());
            video + rows
        }
        None => video,
    }
}
