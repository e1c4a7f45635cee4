//! Attention with Burn's own operations; on GPUs, parts of it are kernels.

use std::f64::consts::SQRT_2;

use burn::tensor::{Tensor, module, ops::AttentionModuleOptions};

use super::heads::{merge_heads, split_qkv};
use super::{AttentionOptions, LayerKvCache, Mask};
use crate::rotary::{RotaryEmbedding, apply_rotary_to_last};

pub(super) fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<&Mask>,
) -> Tensor<4> {
    #[cfg(feature = "gpu")]
    if ar_gpu_kernels::covers(&q) {
        return ar_gpu_kernels::attention::attention(q, k, v, mask.map(Mask::hidden));
    }
    let [batch, heads, queries, _] = q.dims();
    let keys = k.dims()[2];
    let mask = mask.map(|mask| {
        let hidden = mask.hidden().expand([batch, heads, queries, keys]);
        if q.is_autodiff() {
            hidden.autodiff()
        } else {
            hidden
        }
    });
    module::attention(q, k, v, mask, None, AttentionModuleOptions::default())
}

pub(super) fn self_attention(qkv: Tensor<3>, options: AttentionOptions<'_>) -> Tensor<3> {
    let (rotary, mask) = (options.rotary, options.mask);
    let unrotated = rotary.map_or(0, |rotary| qkv.dims()[1] - rotary.positions());
    let [q, k, v] = normed_heads(qkv, options);
    let k = apply_rotary_to_last(k, rotary);
    let (q, k) = with_unrotated(q, k, unrotated, rotary);
    merge_heads(attention(q, k, v, mask))
}

pub(super) fn cached_attention(
    qkv: Tensor<3>,
    cache: &LayerKvCache,
    options: AttentionOptions<'_>,
) -> Tensor<3> {
    let (rotary, mask) = (options.rotary, options.mask);
    let unrotated = rotary.map_or(0, |_| cache.unrotated);
    let cached = cache.keys.clone().swap_dims(2, 3);
    let with_cached = |k, v| {
        let k = Tensor::cat(vec![cached, k], 2);
        (k, Tensor::cat(vec![cache.values.clone(), v], 2))
    };
    #[cfg(feature = "gpu")]
    if unrotated == 0
        && !qkv.is_autodiff()
        && let Some(heads) = options.gpu_heads(&qkv)
    {
        let [q, k, v] = ar_gpu_kernels::attention::split_heads(qkv, heads);
        let (k, v) = with_cached(k, v);
        return merge_heads(attention(q, k, v, mask));
    }
    let [q, k, v] = normed_heads(qkv, options);
    let (k, v) = with_cached(apply_rotary_to_last(k, rotary), v);
    let (q, k) = with_unrotated(q, k, unrotated, rotary);
    merge_heads(attention(q, k, v, mask))
}

/// Queries, keys and values; queries and keys after their layer norms.
fn normed_heads(qkv: Tensor<3>, options: AttentionOptions<'_>) -> [Tensor<4>; 3] {
    let [q, k, v] = split_qkv(qkv, options.heads);
    match options.qk_norm {
        Some([q_norm, k_norm]) => [q_norm.apply(q), k_norm.apply(k), v],
        None => [q, k, v],
    }
}

/// Queries and keys whose products are the scores. Scores with the first `unrotated` keys use
/// queries without RoPE; scores with the other keys, which are rotated, use queries with RoPE.
///
/// One dot product does both, over twice the channels: `[rotated, unrotated]` queries with
/// `[rotated, 0]` and `[0, unrotated]` keys.
fn with_unrotated(
    q: Tensor<4>,
    k: Tensor<4>,
    unrotated: usize,
    rotary: Option<&RotaryEmbedding>,
) -> (Tensor<4>, Tensor<4>) {
    if unrotated == 0 {
        return (apply_rotary_to_last(q, rotary), k);
    }
    // Attention divides scores by the root of twice the channels.
    let q = q * SQRT_2;
    let q = Tensor::cat(vec![apply_rotary_to_last(q.clone(), rotary), q], 3);
    let rotated = k.dims()[2] - unrotated;
    let unrotated = k.clone().narrow(2, 0, unrotated);
    let unrotated = Tensor::cat(vec![unrotated.zeros_like(), unrotated], 3);
    if rotated == 0 {
        return (q, unrotated);
    }
    let k = k.narrow(2, unrotated.dims()[2], rotated);
    let k = Tensor::cat(vec![k.clone(), k.zeros_like()], 3);
    (q, Tensor::cat(vec![unrotated, k], 2))
}
