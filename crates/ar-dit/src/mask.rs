use ar_ops::attention::Mask;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// Which tokens see which in attention, over the sequence `[context, frame 0, frame 1, ..]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CausalMask {
    /// Everything sees everything.
    None,
    /// Context sees only context; a frame sees context, itself and the frames of the window before
    /// it. No information flows backwards in time, so the keys and values of finished frames can be
    /// cached.
    TemporalCausal,
    /// Like [`CausalMask::TemporalCausal`], but context sees everything (published checkpoints), so
    /// from the second layer on, information from later frames reaches earlier ones through the
    /// context.
    #[default]
    VideoTemporalCausal,
}

/// The lengths of a sequence `[context, frame 0, frame 1, ..]` and of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceLengths {
    /// Tokens of the context.
    pub context_tokens: usize,
    /// Frames after it.
    pub frames: usize,
    /// Tokens of each frame.
    pub tokens_per_frame: usize,
}

impl CausalMask {
    /// The mask over all `context_tokens + frames * tokens_per_frame` positions of a sequence;
    /// `None` if everything is visible. With the causal masks, a frame sees itself and the
    /// `window - 1` frames before it.
    pub fn hidden(self, lengths: SequenceLengths, window: usize, device: &Device) -> Option<Mask> {
        let context_sees_video = match self {
            Self::None => return None,
            Self::TemporalCausal => false,
            Self::VideoTemporalCausal => true,
        };
        // The context is the group before frame 0.
        let visible = |query: usize, key: usize| match (query.checked_sub(1), key.checked_sub(1)) {
            (_, None) => true,
            (None, Some(_)) => context_sees_video,
            (Some(query), Some(key)) => self.sees(query, key, window),
        };
        let mut groups = vec![lengths.tokens_per_frame; 1 + lengths.frames];
        groups[0] = lengths.context_tokens;
        Some(Mask::new(&groups, &groups, visible, device))
    }

    /// Whether frame `query` sees frame `key`.
    pub(crate) fn sees(self, query: usize, key: usize, window: usize) -> bool {
        self == Self::None || (key <= query && query - key < window)
    }
}
