//! Multi-head attention over packed projections, with layer norms of queries and keys, RoPE, masks
//! and a KV cache.

mod heads;
mod kv_cache;
mod mask;
mod options;
mod plain;

#[cfg(feature = "flex")]
use ar_kernels::attention::{AttentionOps, GatedAttention, forward_packed};
#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::nn::Linear;
use burn::tensor::Tensor;

use crate::linear::apply;
use crate::norm::AdaptiveNorm;

pub use heads::{HeadNorm, merge_heads, split_heads};
pub use kv_cache::LayerKvCache;
pub use mask::Mask;
pub use options::AttentionOptions;

/// Scaled dot-product attention, `softmax(q kᵀ / √head_dim) v`.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`
/// - `k`: `[batch, heads, keys, head_dim]`; `v`: `[batch, heads, keys, value_dim]`
/// - output: `[batch, heads, queries, value_dim]`
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<&Mask>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&q) {
        let options = AttentionOptions {
            heads: q.dims()[1],
            qk_norm: None,
            rotary: None,
            mask,
        };
        let options = options.kernel(0);
        let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::attend(q, k, v, options));
    }
    plain::attention(q, k, v, mask)
}

/// Self-attention over one projection of queries, keys and values.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - output: `[batch, sequence, heads * head_dim]`
pub fn self_attention(qkv: Tensor<3>, options: AttentionOptions<'_>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&qkv) {
        let sequence = qkv.dims()[1];
        let rotated = options.rotary.map_or(0, |rotary| rotary.positions());
        let kernel = options.kernel(sequence - rotated);
        let qkv = qkv.into_dispatch();
        return Tensor::from_dispatch(match options.qk_norm.map(HeadNorm::parameters) {
            None => Dispatch::attend_packed(qkv, kernel),
            Some(parameters) => {
                let [q_gamma, q_beta, k_gamma, k_beta] = parameters.map(Tensor::into_dispatch);
                Dispatch::attend_packed_normed(qkv, q_gamma, q_beta, k_gamma, k_beta, kernel)
            }
        });
    }
    #[cfg(feature = "gpu")]
    if let Some(heads) = options.gpu_heads(&qkv) {
        let hidden = options.mask.map(Mask::hidden);
        return ar_gpu_kernels::attention::self_attention(qkv, heads, hidden);
    }
    plain::self_attention(qkv, options)
}

/// The attention sub-layer of a block: `residual + gate * projection(attention(qkv(input)))` inside
/// an adaptive layer norm. New tokens attend to the cache and to each other, as in
/// [`self_attention`] over the whole sequence, whose last tokens are the new ones. With RoPE, all
/// new tokens are rotated.
///
/// # Shapes
/// - `x` and output: `[batch, frames, tokens, width]`
/// - `qkv`: `width -> 3 * width`; `projection`: `width -> width`
/// - the mask in `options`: over new tokens and `[cached, new tokens]`
pub fn gated_attention(
    x: Tensor<4>,
    norm: AdaptiveNorm,
    [qkv, projection]: [&Linear; 2],
    cache: &LayerKvCache,
    options: AttentionOptions<'_>,
) -> Tensor<4> {
    let shape = x.dims();
    #[cfg(feature = "flex")]
    if ar_kernels::covers_without_autodiff(&x)
        && GatedAttention::covers(shape.iter().product(), options.heads)
        && let [Some(qkv), Some(projection)] = [qkv, projection].map(ar_kernels::layer_into_flex)
    {
        let sublayer = GatedAttention {
            adaptive: norm.kernel(x),
            qkv,
            projection,
            cache: cache.primitives(),
            options: options.kernel(cache.unrotated),
            norms: options.qk_norm.map(HeadNorm::primitives),
        };
        return ar_kernels::from_flex(sublayer.forward());
    }
    let (residual, input) = norm.modulated_input(x);
    let qkv = apply(qkv, input.flatten(1, 2));
    let output = cached_attention(qkv, cache, options);
    norm.gated_residual(residual, apply(projection, output).reshape(shape))
}

/// The attention of [`gated_attention`].
///
/// # Shapes
/// - `qkv`: `[batch, new tokens, 3 * heads * head_dim]`
/// - output: `[batch, new tokens, heads * head_dim]`
fn cached_attention(
    qkv: Tensor<3>,
    cache: &LayerKvCache,
    options: AttentionOptions<'_>,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers_without_autodiff(&qkv) {
        let kernel = options.kernel(cache.unrotated);
        let norms = options.qk_norm.map(HeadNorm::primitives);
        let (qkv, cache) = (ar_kernels::into_flex(qkv), cache.primitives());
        return ar_kernels::from_flex(forward_packed(qkv, Some(cache), norms, &kernel));
    }
    plain::cached_attention(qkv, cache, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "flex")]
    use std::ops::Range;

    #[cfg(feature = "flex")]
    use crate::norm::testing::adaptive_norms;
    #[cfg(feature = "flex")]
    use crate::rotary::{FrameRotary, RotaryEmbedding};
    #[cfg(feature = "flex")]
    use crate::testing::agree;
    #[cfg(feature = "flex")]
    use burn::module::Param;
    use burn::tensor::Device;
    #[cfg(feature = "flex")]
    use burn::tensor::Distribution;

    #[test]
    fn a_hidden_key_has_no_influence() {
        let device = Device::flex();
        let q = Tensor::<4>::ones([2, 2, 3, 4], &device);
        let k = q.clone();
        let v = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device)
            .reshape([1, 1, 3, 1])
            .expand([2, 2, 3, 4]);
        let mask = Mask::new(&[1; 3], &[1; 3], |query, key| key <= query, &device);
        let out = attention(q, k, v, Some(&mask));
        // Equal scores: the mean of the visible values.
        let per_query: Vec<f32> = (0..3)
            .map(|i| {
                out.clone()
                    .slice([1..2, 1..2, i..i + 1, 2..3])
                    .into_scalar()
            })
            .collect();
        for (actual, expected) in per_query.into_iter().zip([1.0, 1.5, 2.0]) {
            assert!((actual - expected).abs() < 1e-6);
        }
    }

    /// Context of 4 tokens, then frames of 6: a frame sees itself and earlier frames.
    #[cfg(feature = "flex")]
    fn causal(queries: usize, keys: usize, device: &Device) -> Mask {
        let groups = |tokens: usize| {
            let mut groups = vec![4];
            groups.extend(vec![6; (tokens - 4) / 6]);
            groups.push((tokens - 4) % 6);
            groups
        };
        let visible = |query, key| key <= query;
        Mask::new(&groups(queries), &groups(keys), visible, device)
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_agrees_with_plain_operations() {
        // More queries than fit a tile, and not a multiple of it.
        let (queries, keys) = (150, 70);
        for masked in [false, true] {
            let [fused, plain] = [attention, plain::attention].map(|function| {
                move |[q, k, v]: [Tensor<1>; 3]| {
                    let mask = masked.then(|| causal(queries, keys, &q.device()));
                    let heads = |x: Tensor<1>, rows: usize, dim: usize| {
                        x.reshape([2, rows, 2, dim]).swap_dims(1, 2)
                    };
                    let (q, k, v) = (heads(q, queries, 8), heads(k, keys, 8), heads(v, keys, 4));
                    function(q, k, v, mask.as_ref()).flatten(0, 3)
                }
            });
            agree([32 * queries, 32 * keys, 16 * keys], fused, plain);
        }
    }

    /// The first token with RoPE: none, the first one of the context, or the first one of the
    /// video.
    #[cfg(feature = "flex")]
    const FIRST_ROTATED: [Option<usize>; 3] = [None, Some(0), Some(4)];

    #[cfg(feature = "flex")]
    fn rotary(tokens: Range<usize>, head_dim: usize, device: &Device) -> RotaryEmbedding {
        FrameRotary::new(1, head_dim).at(tokens, device)
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_packed_kernel_agrees_with_plain_operations() {
        let sequence = 130;
        let kinds = FIRST_ROTATED.map(|first| [(first, false, 8), (first, true, 20)]);
        for (first, normed, dim) in kinds.into_iter().flatten() {
            let [fused, plain] = [self_attention, plain::self_attention].map(|function| {
                move |[qkv, a, b, c, d]: [Tensor<1>; 5]| {
                    let device = qkv.device();
                    let rotary = first.map(|first| rotary(first..sequence, dim, &device));
                    let mask = causal(sequence, sequence, &device);
                    let rest = (a.clone() + b.clone() + c.clone() + d.clone()).sum();
                    let norm = |gamma, beta| HeadNorm { gamma, beta };
                    let norms = normed.then(|| [norm(a, b), norm(c, d)]);
                    let qkv = qkv.reshape([2, sequence, 6 * dim]);
                    let options = AttentionOptions {
                        heads: 2,
                        qk_norm: norms,
                        rotary: rotary.as_ref(),
                        mask: Some(&mask),
                    };
                    let output = function(qkv, options);
                    // The parameters are used in both cases, so that all of them have gradients.
                    output.flatten(0, 2) + rest
                }
            });
            agree([12 * sequence * dim, dim, dim, dim, dim], fused, plain);
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kv_cache_stands_for_its_tokens() {
        let (kept, new) = (58, 72); // 4 of context and 9 frames, 12 frames
        let device = Device::flex();
        let normal = |len| Tensor::<1>::random([len], Distribution::Normal(0.0, 1.0), &device);
        let qkv = normal(2 * (kept + new) * 48).reshape([2, kept + new, 48]);
        let norm = || HeadNorm {
            gamma: normal(8),
            beta: normal(8),
        };
        let [first, rest] =
            [(0, kept), (kept, new)].map(|(start, len)| qkv.clone().narrow(1, start, len));
        let mut keys = vec![6; 22];
        keys[0] = 4;
        let visible = |query, key| key <= query + 10;
        let rest_mask = Mask::new(&[6; 12], &keys, visible, &device);
        let mask = causal(kept + new, kept + new, &device);
        for first_rotated in FIRST_ROTATED {
            let rotary = |tokens: Range<usize>| first_rotated.map(|_| rotary(tokens, 8, &device));
            let unrotated = first_rotated.unwrap_or(0);
            let [of_all, of_first, of_rest] =
                [unrotated..kept + new, unrotated..kept, kept..kept + new].map(rotary);
            for qk_norm in [None, Some([norm(), norm()])] {
                let options = AttentionOptions {
                    heads: 2,
                    qk_norm,
                    rotary: of_first.as_ref(),
                    mask: None,
                };
                let cache = LayerKvCache::new(first.clone(), &options, unrotated);
                let of_all = AttentionOptions {
                    rotary: of_all.as_ref(),
                    mask: Some(&mask),
                    ..options.clone()
                };
                let whole = self_attention(qkv.clone(), of_all);
                let expected = whole.narrow(1, kept, new);
                for function in [cached_attention, plain::cached_attention] {
                    let of_rest = AttentionOptions {
                        rotary: of_rest.as_ref(),
                        mask: Some(&rest_mask),
                        ..options.clone()
                    };
                    let output = function(rest.clone(), &cache, of_rest);
                    let error: f32 = (output - expected.clone()).abs().max().into_scalar();
                    assert!(error < 1e-5, "{error:e}");
                }
            }
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_of_the_sublayer_agrees_with_plain_operations() {
        let device = Device::flex();
        let normal = |len| Tensor::<1>::random([len], Distribution::Normal(0.0, 1.0), &device);
        let layer = |outputs: usize| Linear {
            weight: Param::from_tensor(normal(16 * outputs).reshape([16, outputs])),
            bias: Some(Param::from_tensor(normal(outputs))),
        };
        let (qkv, projection) = (layer(48), layer(16));
        // Four tokens of context and a frame of six are kept; two frames are new.
        let mask = Mask::new(&[6; 2], &[4, 6, 6, 6], |q, k| k <= q + 2, &device);
        for first_rotated in FIRST_ROTATED {
            let rotary = |tokens: Range<usize>| first_rotated.map(|_| rotary(tokens, 8, &device));
            let unrotated = first_rotated.unwrap_or(0);
            let [of_kept, of_new] = [unrotated..10, 10..22].map(rotary);
            let norm = || HeadNorm {
                gamma: normal(8),
                beta: normal(8),
            };
            for qk_norm in [None, Some([norm(), norm()])] {
                let kept = normal(2 * 10 * 48).reshape([2, 10, 48]);
                let options = AttentionOptions {
                    heads: 2,
                    qk_norm,
                    rotary: of_kept.as_ref(),
                    mask: None,
                };
                let cache = LayerKvCache::new(kept, &options, unrotated);
                let options = AttentionOptions {
                    rotary: of_new.as_ref(),
                    mask: Some(&mask),
                    ..options
                };
                for around in adaptive_norms(&normal(2 * 80).reshape([1, 2, 80])) {
                    let x = normal(2 * 12 * 16).reshape([2, 2, 6, 16]);
                    let (residual, input) = around.modulated_input(x.clone());
                    let packed = qkv.forward(input.flatten::<3>(1, 2));
                    let attended = plain::cached_attention(packed, &cache, options.clone());
                    let output = projection.forward(attended).reshape([2, 2, 6, 16]);
                    let expected = around.gated_residual(residual, output);
                    let layers = [&qkv, &projection];
                    let output = gated_attention(x, around, layers, &cache, options.clone());
                    let size: f32 = expected.clone().abs().max().into_scalar();
                    let error: f32 = (output - expected).abs().max().into_scalar();
                    assert!(error < 1e-5 * size, "{error:e} of {size}");
                }
            }
        }
    }
}
