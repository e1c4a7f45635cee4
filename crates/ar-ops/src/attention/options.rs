//! Options of self-attention.

#[cfg(feature = "gpu")]
use ar_gpu_kernels::attention::Heads;
#[cfg(feature = "gpu")]
use burn::tensor::Tensor;

use super::{HeadNorm, Mask};
use crate::rotary::RotaryEmbedding;

/// Heads, layer norms, RoPE and mask of self-attention.
#[derive(Clone, Debug)]
pub struct AttentionOptions<'a> {
    /// Number of heads.
    pub heads: usize,
    /// Layer norms of queries and keys per head, if any.
    pub qk_norm: Option<[HeadNorm; 2]>,
    /// RoPE of the last queries and keys of the sequence, as many as it has positions. Scores with keys before those
    /// use queries without RoPE; queries before those must not see rotated keys.
    pub rotary: Option<&'a RotaryEmbedding>,
    /// Which keys are hidden, if any.
    pub mask: Option<&'a Mask>,
}

#[cfg(feature = "gpu")]
impl AttentionOptions<'_> {
    /// How the GPU's kernel splits this projection into heads, if it can: with RoPE on all tokens or on none.
    pub(super) fn gpu_heads(&self, qkv: &Tensor<3>) -> Option<Heads> {
        let [_, sequence, packed] = qkv.dims();
        let rotates_all = |rotary: &RotaryEmbedding| rotary.positions() == sequence;
        let covered = ar_gpu_kernels::covers(qkv)
            && self.rotary.is_none_or(rotates_all)
            && Heads::covers(packed / 3 / self.heads);
        covered.then(|| Heads {
            count: self.heads,
            norms: self.qk_norm.clone().map(HeadNorm::parameters),
            epsilon: HeadNorm::EPSILON,
            rope: self.rotary.map(|rotary| rotary.tables().clone()),
        })
    }
}

#[cfg(feature = "flex")]
impl AttentionOptions<'_> {
    /// The options of the kernel in which scores with the first `unrotated_keys` use queries without RoPE.
    pub(super) fn kernel(&self, unrotated_keys: usize) -> ar_kernels::attention::KernelOptions {
        ar_kernels::attention::KernelOptions {
            heads: self.heads,
            rope: self.rotary.map(|rotary| ar_kernels::rotary::Rope {
                angles: rotary.angles(),
                unrotated_keys,
            }),
            hidden: self.mask.map(Mask::on_host),
            epsilon: HeadNorm::EPSILON,
        }
    }
}
