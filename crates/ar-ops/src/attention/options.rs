//! What self-attention needs to know besides its tensors.

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
    /// RoPE of the last queries and keys of the sequence, as many as it has positions. Queries meet
    /// the keys before those without RoPE; the queries before those must not see the rotated keys.
    pub rotary: Option<&'a RotaryEmbedding>,
    /// Which keys are hidden, if any.
    pub mask: Option<&'a Mask>,
}

#[cfg(feature = "gpu")]
impl AttentionOptions<'_> {
    /// The options of the GPU's kernel for these projections, if it can do what they say: RoPE of
    /// all tokens or of none.
    pub(super) fn gpu_kernel(&self, qkv: &Tensor<3>) -> Option<ar_gpu_kernels::attention::Options> {
        let [_, sequence, packed] = qkv.dims();
        let rotates_all = |rotary: &RotaryEmbedding| rotary.positions() == sequence;
        let covered = self.rotary.is_none_or(rotates_all)
            && ar_gpu_kernels::attention::covers_heads(packed / 3 / self.heads);
        covered.then(|| ar_gpu_kernels::attention::Options {
            heads: self.heads,
            norms: self.qk_norm.clone().map(HeadNorm::parameters),
            epsilon: HeadNorm::EPSILON,
            rope: self.rotary.map(|rotary| rotary.tables().clone()),
            hidden: self.mask.map(Mask::hidden),
        })
    }
}

#[cfg(feature = "flex")]
impl AttentionOptions<'_> {
    /// The options of the kernel in which the first `unrotated_keys` meet queries without RoPE.
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
