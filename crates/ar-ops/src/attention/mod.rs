//! Multi-head attention over fused projections, and visibility masks.

mod mask;
mod plain;

#[cfg(feature = "flex")]
use burn::backend::{Dispatch, flex::FlexTensor};
use burn::nn::Linear;
use burn::tensor::{Tensor, module::layer_norm};

pub use mask::Mask;

use crate::linear::apply;
use crate::norm::AdaptiveNorm;
use crate::position::Rotation;
#[cfg(feature = "flex")]
use ar_kernels::{
    attention::{AttentionOps, AttentionOptions, GatedAttention, forward_packed},
    rotary::Rope,
};

/// `[batch, sequence, width]` to `[batch, heads, sequence, width / heads]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, sequence, width] = x.dims();
    assert_eq!(width % heads, 0, "width {width} over {heads} heads");
    x.reshape([batch, sequence, heads, width / heads])
        .swap_dims(1, 2)
}

/// `[batch, heads, sequence, head_dim]` to `[batch, sequence, heads * head_dim]`.
pub fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, sequence, head_dim] = x.dims();
    x.swap_dims(1, 2)
        .reshape([batch, sequence, heads * head_dim])
}

/// Scaled dot-product attention, scale `1 / √head_dim`.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`
/// - `k`: `[batch, heads, keys, head_dim]`; `v`: `[batch, heads, keys, value_dim]`
/// - output: `[batch, heads, queries, value_dim]`
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<&Mask>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&q) {
        let options = options(q.dims()[1], None, mask);
        let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::attend(q, k, v, options));
    }
    plain::attend(q, k, v, mask)
}

/// Self-attention over one projection of queries, keys and values, with layer norms of queries
/// and keys per head if `norms` are given.
///
/// With a `rotation` the last queries and keys of the sequence turn, as many as it has positions;
/// keys before those meet all queries as they are. Queries before those must not see the keys that
/// turn.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - output: `[batch, sequence, heads * head_dim]`
pub fn attend_packed(
    qkv: Tensor<3>,
    heads: usize,
    norms: Option<[HeadNorm; 2]>,
    rotation: Option<&Rotation>,
    mask: Option<&Mask>,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&qkv) {
        let rope = rotation.map(|rotation| Rope {
            angles: rotation.angles(),
            unrotated_keys: qkv.dims()[1] - rotation.positions(),
        });
        let options = options(heads, rope, mask);
        let qkv = qkv.into_dispatch();
        return Tensor::from_dispatch(match norms.map(HeadNorm::parameters) {
            None => Dispatch::attend_packed(qkv, options),
            Some(parameters) => {
                let [q_gamma, q_beta, k_gamma, k_beta] = parameters.map(Tensor::into_dispatch);
                Dispatch::attend_packed_normed(qkv, q_gamma, q_beta, k_gamma, k_beta, options)
            }
        });
    }
    plain::attend_packed(qkv, heads, norms, rotation, mask)
}

/// Half of a block: attention between its projections, inside an adaptive layer norm. New tokens
/// attend to kept keys and values and to one another; as [`attend_packed`] over the whole sequence,
/// whose last tokens are the new ones. With a `rotation` all of them turn.
///
/// # Shapes
/// - `x` and output: `[batch, frames, tokens, width]`
/// - `qkv`: `width -> 3 * width`; `projection`: `width -> width`
/// - `mask`: over new tokens and `[kept, new tokens]`
pub fn gated_attention(
    x: Tensor<4>,
    norm: AdaptiveNorm,
    [qkv, projection]: [&Linear; 2],
    past: &KeysValues,
    norms: Option<[HeadNorm; 2]>,
    rotation: Option<&Rotation>,
    mask: Option<&Mask>,
) -> Tensor<4> {
    let shape = x.dims();
    #[cfg(feature = "flex")]
    if ar_kernels::covers_without_autodiff(&x)
        && GatedAttention::covers(shape.iter().product(), past.heads())
        && let [Some(qkv), Some(projection)] = [qkv, projection].map(ar_kernels::layer_into_flex)
    {
        let half = GatedAttention {
            adaptive: norm.kernel(x),
            qkv,
            projection,
            past: past.primitives(),
            norms: norms.map(HeadNorm::primitives),
            options: options_cached(past, rotation, mask),
        };
        return ar_kernels::from_flex(half.forward());
    }
    let (residual, input) = norm.enter(x);
    let qkv = apply(qkv, input.flatten(1, 2));
    let output = attend_cached(qkv, past, norms, rotation, mask);
    norm.leave(residual, apply(projection, output).reshape(shape))
}

/// The attention of [`gated_attention`].
///
/// # Shapes
/// - `qkv`: `[batch, new tokens, 3 * heads * head_dim]`
/// - output: `[batch, new tokens, heads * head_dim]`
fn attend_cached(
    qkv: Tensor<3>,
    past: &KeysValues,
    norms: Option<[HeadNorm; 2]>,
    rotation: Option<&Rotation>,
    mask: Option<&Mask>,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers_without_autodiff(&qkv) {
        let options = options_cached(past, rotation, mask);
        let norms = norms.map(HeadNorm::primitives);
        let (qkv, past) = (ar_kernels::into_flex(qkv), past.primitives());
        return ar_kernels::from_flex(forward_packed(qkv, Some(past), norms, &options));
    }
    plain::attend_cached(qkv, past, norms, rotation, mask)
}

/// Kept keys and values, for [`gated_attention`].
#[derive(Clone, Debug)]
pub struct KeysValues {
    /// `[batch, heads, head_dim, sequence]`, as queries meet them: normed and turned. A product
    /// with queries reads a channel of all keys at once.
    keys: Tensor<4>,
    /// `[batch, heads, sequence, head_dim]`
    values: Tensor<4>,
    /// How many of the first keys have not turned, where others have.
    plain: usize,
}

impl KeysValues {
    /// Those of the first tokens of a sequence, of which the last turn by `rotation`; `plain` of
    /// them do not turn though later ones will.
    ///
    /// # Shapes
    /// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
    pub fn new(
        qkv: Tensor<3>,
        heads: usize,
        norm: Option<HeadNorm>,
        rotation: Option<&Rotation>,
        plain: usize,
    ) -> Self {
        let [_, keys, values] = split_qkv(qkv, heads);
        let keys = match norm {
            Some(norm) => norm.apply(keys),
            None => keys,
        };
        Self {
            keys: plain::turned(keys, rotation).swap_dims(2, 3),
            values,
            plain,
        }
    }

    /// How many tokens are kept.
    pub fn tokens(&self) -> usize {
        self.values.dims()[2]
    }

    fn heads(&self) -> usize {
        self.keys.dims()[1]
    }

    #[cfg(feature = "flex")]
    fn primitives(&self) -> [FlexTensor; 2] {
        [&self.keys, &self.values].map(|kept| ar_kernels::into_flex(kept.clone()))
    }

    /// The first `first` tokens kept, those after the `dropped` next ones, and new ones.
    pub fn advance(&self, first: usize, dropped: usize, new: Option<Self>) -> Self {
        let rest = self.tokens() - first - dropped;
        let join = |kept: &Tensor<4>, new: Option<Tensor<4>>, axis: usize| {
            let mut parts = vec![kept.clone().narrow(axis, 0, first)];
            if rest > 0 {
                parts.push(kept.clone().narrow(axis, first + dropped, rest));
            }
            parts.extend(new);
            Tensor::cat(parts, axis)
        };
        let (keys, values) = new.map(|new| (new.keys, new.values)).unzip();
        Self {
            keys: join(&self.keys, keys, 3),
            values: join(&self.values, values, 2),
            plain: self.plain,
        }
    }
}

/// Queries, keys and values of one projection.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - outputs: `[batch, heads, sequence, head_dim]`
fn split_qkv(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let width = qkv.dims()[2] / 3;
    [0, 1, 2].map(|part| split_heads(qkv.clone().narrow(2, part * width, width), heads))
}

/// Layer normalisation of every head's queries or keys.
#[derive(Clone, Debug)]
pub struct HeadNorm {
    /// Scale, `[head_dim]`.
    pub gamma: Tensor<1>,
    /// Bias, `[head_dim]`.
    pub beta: Tensor<1>,
}

impl HeadNorm {
    /// What is added to a variance: the default of PyTorch and of Burn.
    const EPSILON: f64 = 1e-5;

    /// # Shapes
    /// - `x` and output: `[batch, heads, sequence, head_dim]`
    fn apply(self, x: Tensor<4>) -> Tensor<4> {
        layer_norm(x, self.gamma, Some(self.beta), Self::EPSILON)
    }

    /// Gamma and beta of queries, then of keys.
    #[cfg(feature = "flex")]
    fn parameters([q, k]: [Self; 2]) -> [Tensor<1>; 4] {
        [q.gamma, q.beta, k.gamma, k.beta]
    }

    #[cfg(feature = "flex")]
    fn primitives(norms: [Self; 2]) -> [FlexTensor; 4] {
        Self::parameters(norms).map(ar_kernels::into_flex)
    }
}

#[cfg(feature = "flex")]
fn options(heads: usize, rope: Option<Rope>, mask: Option<&Mask>) -> AttentionOptions {
    AttentionOptions {
        heads,
        rope,
        hidden: mask.map(Mask::rows),
        epsilon: HeadNorm::EPSILON,
    }
}

#[cfg(feature = "flex")]
fn options_cached(
    past: &KeysValues,
    rotation: Option<&Rotation>,
    mask: Option<&Mask>,
) -> AttentionOptions {
    let rope = rotation.map(|rotation| Rope {
        angles: rotation.angles(),
        unrotated_keys: past.plain,
    });
    options(past.heads(), rope, mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "flex")]
    use std::ops::Range;

    #[cfg(feature = "flex")]
    use crate::{norm::testing::adaptive_norms, position::FrameRotary, testing::agree};
    #[cfg(feature = "flex")]
    use burn::module::Param;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn heads_split_and_merge_back() {
        let x = Tensor::<1>::from_floats(
            (0..24).map(|i| i as f32).collect::<Vec<_>>().as_slice(),
            &Device::flex(),
        )
        .reshape([1, 3, 8]);
        let heads = split_heads(x.clone(), 2);
        assert_eq!(heads.dims(), [1, 2, 3, 4]);
        assert_eq!(merge_heads(heads).into_data(), x.into_data());
    }

    #[test]
    fn a_hidden_key_has_no_influence() {
        let device = Device::flex();
        let q = Tensor::<4>::ones([2, 2, 3, 4], &device);
        let k = q.clone();
        let v = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device)
            .reshape([1, 1, 3, 1])
            .expand([2, 2, 3, 4]);
        let mask = Mask::new(&[1; 3], &[1; 3], |query, key| key <= query, &device);
        let out = attend(q, k, v, Some(&mask));
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

    /// Context of 4 tokens, then frames of 6: a frame sees those up to it.
    #[cfg(feature = "flex")]
    fn causal(queries: usize, keys: usize) -> Mask {
        let groups = |tokens: usize| {
            let mut groups = vec![4];
            groups.extend(vec![6; (tokens - 4) / 6]);
            groups.push((tokens - 4) % 6);
            groups
        };
        let visible = |query, key| key <= query;
        Mask::new(&groups(queries), &groups(keys), visible, &Device::flex())
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_agrees_with_plain_operations() {
        // More queries than a tile has, not a multiple of it.
        let (queries, keys) = (150, 70);
        for mask in [None, Some(causal(queries, keys))] {
            let [fused, plain] = [attend, plain::attend].map(|function| {
                let mask = mask.clone();
                move |[q, k, v]: [Tensor<1>; 3]| {
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

    /// The first token that turns: none, that of the context, that of the video.
    #[cfg(feature = "flex")]
    const TURNING: [Option<usize>; 3] = [None, Some(0), Some(4)];

    #[cfg(feature = "flex")]
    fn rotation(tokens: Range<usize>) -> Rotation {
        FrameRotary::new(1, 8).at(tokens, &Device::flex())
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_packed_kernel_agrees_with_plain_operations() {
        let sequence = 130;
        for first in TURNING {
            let rotation = first.map(|first| rotation(first..sequence));
            for normed in [false, true] {
                let [fused, plain] = [attend_packed, plain::attend_packed].map(|function| {
                    let rotation = rotation.clone();
                    move |[qkv, a, b, c, d]: [Tensor<1>; 5]| {
                        let mask = causal(sequence, sequence);
                        let rest = (a.clone() + b.clone() + c.clone() + d.clone()).sum();
                        let norm = |gamma, beta| HeadNorm { gamma, beta };
                        let norms = normed.then(|| [norm(a, b), norm(c, d)]);
                        let qkv = qkv.reshape([2, sequence, 48]);
                        let output = function(qkv, 2, norms, rotation.as_ref(), Some(&mask));
                        // The parameters count in both cases, so that all have gradients.
                        output.flatten(0, 2) + rest
                    }
                });
                agree([2 * sequence * 48, 8, 8, 8, 8], fused, plain);
            }
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn kept_keys_and_values_stand_for_their_tokens() {
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
        let mask = causal(kept + new, kept + new);
        for turning in TURNING {
            let turn = |tokens: Range<usize>| turning.map(|_| rotation(tokens));
            let plain = turning.unwrap_or(0);
            let [of_all, of_first, of_rest] =
                [plain..kept + new, plain..kept, kept..kept + new].map(turn);
            for norms in [None, Some([norm(), norm()])] {
                let k_norm = norms.clone().map(|[_, k_norm]| k_norm);
                let past = KeysValues::new(first.clone(), 2, k_norm, of_first.as_ref(), plain);
                let (qkv, mask) = (qkv.clone(), Some(&mask));
                let whole = attend_packed(qkv, 2, norms.clone(), of_all.as_ref(), mask);
                let expected = whole.narrow(1, kept, new);
                for function in [attend_cached, plain::attend_cached] {
                    let output = function(
                        rest.clone(),
                        &past,
                        norms.clone(),
                        of_rest.as_ref(),
                        Some(&rest_mask),
                    );
                    let error: f32 = (output - expected.clone()).abs().max().into_scalar();
                    assert!(error < 1e-5, "{error:e}");
                }
            }
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_of_the_half_agrees_with_plain_operations() {
        let device = Device::flex();
        let normal = |len| Tensor::<1>::random([len], Distribution::Normal(0.0, 1.0), &device);
        let layer = |outputs: usize| Linear {
            weight: Param::from_tensor(normal(16 * outputs).reshape([16, outputs])),
            bias: Some(Param::from_tensor(normal(outputs))),
        };
        let (qkv, projection) = (layer(48), layer(16));
        // Four tokens of context and a frame of six are kept; two frames are new.
        let mask = Mask::new(&[6; 2], &[4, 6, 6, 6], |q, k| k <= q + 2, &device);
        for turning in TURNING {
            let turn = |tokens: Range<usize>| turning.map(|_| rotation(tokens));
            let plain = turning.unwrap_or(0);
            let [of_kept, of_new] = [plain..10, 10..22].map(turn);
            let norm = || HeadNorm {
                gamma: normal(8),
                beta: normal(8),
            };
            for norms in [None, Some([norm(), norm()])] {
                let k_norm = norms.clone().map(|[_, k_norm]| k_norm);
                let kept = normal(2 * 10 * 48).reshape([2, 10, 48]);
                let past = KeysValues::new(kept, 2, k_norm, of_kept.as_ref(), plain);
                let (of_new, mask) = (of_new.as_ref(), Some(&mask));
                for around in adaptive_norms(&normal(2 * 80).reshape([1, 2, 80])) {
                    let x = normal(2 * 12 * 16).reshape([2, 2, 6, 16]);
                    let (residual, input) = around.enter(x.clone());
                    let packed = qkv.forward(input.flatten::<3>(1, 2));
                    let attended = plain::attend_cached(packed, &past, norms.clone(), of_new, mask);
                    let output = projection.forward(attended).reshape([2, 2, 6, 16]);
                    let expected = around.leave(residual, output);
                    let (layers, norms) = ([&qkv, &projection], norms.clone());
                    let output = gated_attention(x, around, layers, &past, norms, of_new, mask);
                    let size: f32 = expected.clone().abs().max().into_scalar();
                    let error: f32 = (output - expected).abs().max().into_scalar();
                    assert!(error < 1e-5 * size, "{error:e} of {size}");
                }
            }
        }
    }
}
