use ar_ops::attention::hidden_mask;
use burn::tensor::{Bool, Device, Tensor};
use serde::{Deserialize, Serialize};

/// Which tokens see which in attention, over the sequence `[context, frame 0, frame 1, ..]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CausalMask {
    /// Everything sees everything.
    None,
    /// Context sees context only; a frame sees context, itself and the frames of the window before
    /// it. No information flows backwards in
    /// time, so keys and values of finished frames can be kept.
    TemporalCausal,
    /// As [`CausalMask::TemporalCausal`], but context sees everything (published checkpoints):
    /// through it, later frames reach earlier ones from the second layer on.
    #[default]
    VideoTemporalCausal,
}

impl CausalMask {
    /// The mask over `context_tokens + frames * tokens_per_frame` positions, `true` where hidden;
    /// `None` where everything is visible. Under the causal masks a frame sees itself and the
    /// `window - 1` frames before it.
    ///
    /// # Shapes
    /// - output: `[1, 1, sequence, sequence]`
    pub fn hidden(
        self,
        context_tokens: usize,
        frames: usize,
        tokens_per_frame: usize,
        window: usize,
        device: &Device,
    ) -> Option<Tensor<4, Bool>> {
        let context_sees_video = match self {
            Self::None => return None,
            Self::TemporalCausal => false,
            Self::VideoTemporalCausal => true,
        };
        let frame = |position: usize| {
            position
                .checked_sub(context_tokens)
                .map(|token| token / tokens_per_frame)
        };
        let visible = |query, key| match (frame(query), frame(key)) {
            (_, None) => true,
            (None, Some(_)) => context_sees_video,
            (Some(query), Some(key)) => self.sees(query, key, window),
        };
        let sequence = context_tokens + frames * tokens_per_frame;
        Some(hidden_mask(sequence, sequence, visible, device))
    }

    /// Whether frame `query` sees frame `key`.
    pub(crate) fn sees(self, query: usize, key: usize, window: usize) -> bool {
        self == Self::None || (key <= query && query - key < window)
    }
}
