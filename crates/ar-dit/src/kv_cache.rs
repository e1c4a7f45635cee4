//! The KV cache of the network, and how a pass over new frames uses and updates it.

use std::collections::HashMap;
use std::ops::Range;

use ar_ops::{
    attention::{LayerKvCache, Mask},
    rotary::RotaryEmbedding,
};
use burn::tensor::Tensor;

/// Keys and values that later frames attend to, of the context and of finished frames, layer by layer. A cache belongs
/// to one batch of videos with one context.
///
/// It also holds the modulation of each block at each timestep, `6 * width` values: 39 MB for 50 steps of the published
/// network.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(crate) layers: Vec<LayerKvCache>,
    /// Number of the next frame.
    pub(crate) next: usize,
    /// How many frames before it are cached.
    pub(crate) frames: usize,
    pub(crate) modulations: Modulations,
    /// The mask of the last pass, with the numbers of cached and new frames, which are usually the same in the next
    /// pass.
    pub(crate) mask: Option<([usize; 2], Mask)>,
}

impl KvCache {
    /// How many frames are cached; with
    /// [`PositionEmbedding::FrameRotary`](crate::PositionEmbedding::FrameRotary) at most
    /// `num_frames - 1`.
    pub fn frames(&self) -> usize {
        self.frames
    }
}

/// The modulation of a frame in all blocks, by timestep: `[1, 1, blocks * 6 * width]` each. All frames take the same
/// steps, and with few tokens per frame, the weights of the modulation would be a third of what a pass reads from
/// memory.
pub(crate) type Modulations = HashMap<usize, Tensor<3>>;

/// What the blocks share in one pass over new frames.
pub(crate) struct Pass {
    pub mask: Option<Mask>,
    pub rotary: Option<RotaryEmbedding>,
    /// None if the cache does not change.
    pub update: Option<CacheUpdate>,
}

/// Which keys of `[context, cached frames, new frames]` the cache holds after a pass.
#[derive(Clone, Debug)]
pub(crate) struct CacheUpdate {
    /// Tokens of the context.
    pub context: usize,
    /// Tokens of cached frames that no later frame will see.
    pub dropped: usize,
    /// New frames that enter the cache.
    pub new: Range<usize>,
    /// RoPE of their tokens.
    pub rotary: Option<RotaryEmbedding>,
}
