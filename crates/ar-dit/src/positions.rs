use std::ops::Range;

use ar_ops::position::{FrameRotary, Rotary, Rotation, SinCosTable};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::DitConfig;

/// How the network knows where a token stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
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

/// The tables behind [`Positions`].
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
    pub fn new(config: &DitConfig) -> Self {
        let DitConfig {
            tokens_per_frame,
            hidden_size: width,
            ..
        } = *config;
        let head_dim = width / config.num_heads;
        let video_tokens = config.num_frames * tokens_per_frame;
        match config.positions {
            Positions::SinCos => Self::SinCos(SinCosTable::new(video_tokens, width)),
            Positions::Rotary => {
                Self::Rotary(Rotary::new(config.context_tokens + video_tokens, head_dim))
            }
            Positions::FrameRotary => Self::FrameRotary {
                rotary: FrameRotary::new(tokens_per_frame, head_dim),
                tokens: SinCosTable::new(tokens_per_frame, width),
            },
        }
    }

    /// Adds what is fixed to the tokens of `frames`.
    ///
    /// # Shapes
    /// - `video` and output: `[batch, frames, tokens, width]`
    pub fn add(&self, video: Tensor<4>, frames: Range<usize>) -> Tensor<4> {
        let [_, length, tokens, width] = video.dims();
        let device = video.device();
        match self {
            Self::SinCos(table) => {
                let rows = table.rows(frames.start * tokens..frames.end * tokens, &device);
                let rows = rows.reshape([1, length, tokens, width]);
                let rows = rows.cast(video.dtype());
                video + rows
            }
            Self::Rotary(_) => video,
            Self::FrameRotary { tokens: table, .. } => {
                let rows = table.rows(0..tokens, &device);
                let rows = rows.reshape([1, 1, tokens, width]).cast(video.dtype());
                video + rows
            }
        }
    }

    /// How the sequence of context and `frames` turns.
    pub fn of_sequence(
        &self,
        config: &DitConfig,
        frames: Range<usize>,
        device: &Device,
    ) -> Option<Rotation> {
        match self {
            Self::Rotary(rotary) => {
                assert_eq!(frames.start, 0, "positions in the window");
                Some(rotary.at(0..token(config, frames.end), device))
            }
            _ => self.of_video(config, frames, device),
        }
    }

    /// How the context turns.
    pub fn of_context(&self, config: &DitConfig, device: &Device) -> Option<Rotation> {
        match self {
            Self::Rotary(rotary) => Some(rotary.at(0..token(config, 0), device)),
            // A turned query would tell its absolute frame.
            Self::SinCos(_) | Self::FrameRotary { .. } => None,
        }
    }

    /// How the tokens of `frames` turn.
    pub fn of_video(
        &self,
        config: &DitConfig,
        frames: Range<usize>,
        device: &Device,
    ) -> Option<Rotation> {
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

/// The place of a frame's first token in the sequence of context and window.
fn token(config: &DitConfig, frame: usize) -> usize {
    config.context_tokens + frame * config.tokens_per_frame
}
