//! Cached keys and values.

use burn::tensor::Tensor;

use super::{AttentionOptions, heads::split_qkv};
use crate::rotary::apply_rotary_to_last;

/// The KV cache of one attention layer, for [`gated_attention`](super::gated_attention).
#[derive(Clone, Debug)]
pub struct LayerKvCache {
    /// `[batch, heads, head_dim, sequence]`, after layer norm and RoPE. The product with queries
    /// reads one channel of all keys at a time.
    pub(super) keys: Tensor<4>,
    /// `[batch, heads, sequence, head_dim]`
    pub(super) values: Tensor<4>,
    /// How many of the first keys have no RoPE although later ones have it.
    pub(super) unrotated: usize,
}

impl LayerKvCache {
    /// Keys and values of the first tokens of a sequence. The options' `rotary` applies to the last
    /// of them; the first `unrotated` keys stay without RoPE although later ones have it.
    ///
    /// # Shapes
    /// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
    pub fn new(qkv: Tensor<3>, options: &AttentionOptions<'_>, unrotated: usize) -> Self {
        let [_, keys, values] = split_qkv(qkv, options.heads);
        let keys = match &options.qk_norm {
            Some([_, k_norm]) => k_norm.clone().apply(keys),
            None => keys,
        };
        Self {
            keys: apply_rotary_to_last(keys, options.rotary).swap_dims(2, 3),
            values,
            unrotated,
        }
    }

    /// Number of cached tokens.
    pub fn tokens(&self) -> usize {
        self.values.dims()[2]
    }

    /// The cache with the first `first` tokens, without the next `dropped` ones, with the tokens
    /// after those, and with new ones.
    pub fn advance(&self, first: usize, dropped: usize, new: Option<Self>) -> Self {
        let rest = self.tokens() - first - dropped;
        let join = |cached: &Tensor<4>, new: Option<Tensor<4>>, axis: usize| {
            let mut parts = vec![cached.clone().narrow(axis, 0, first)];
            if rest > 0 {
                parts.push(cached.clone().narrow(axis, first + dropped, rest));
            }
            parts.extend(new);
            Tensor::cat(parts, axis)
        };
        let (keys, values) = new.map(|new| (new.keys, new.values)).unzip();
        Self {
            keys: join(&self.keys, keys, 3),
            values: join(&self.values, values, 2),
            unrotated: self.unrotated,
        }
    }

    #[cfg(feature = "flex")]
    pub(super) fn primitives(&self) -> [burn::backend::flex::FlexTensor; 2] {
        [&self.keys, &self.values].map(|cached| ar_kernels::into_flex(cached.clone()))
    }
}
