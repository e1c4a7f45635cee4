//! Multi-head attention over fused projections, and visibility masks.

#[cfg(feature = "flex")]
use std::sync::Arc;

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::tensor::{
    Bool, Device, Tensor, TensorData,
    module::{attention, layer_norm},
    ops::AttentionModuleOptions,
};

#[cfg(feature = "flex")]
use crate::fused::{
    self,
    attention::{AttentionOps, Hidden, Setting},
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

/// Scaled dot-product attention, scale `1 / √head_dim`. Every query must see a key.
///
/// # Shapes
/// - `q`: `[batch, heads, queries, head_dim]`
/// - `k`: `[batch, heads, keys, head_dim]`; `v`: `[batch, heads, keys, value_dim]`
/// - `mask`: `[1, 1, queries, keys]`, `true` where a key is hidden (see [`hidden_mask`])
/// - output: `[batch, heads, queries, value_dim]`
pub fn attend(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if fused::cover(&q) {
        let setting = setting(q.dims()[1], mask);
        let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::attend(q, k, v, setting));
    }
    attend_plain(q, k, v, mask)
}

fn attend_plain(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let [batch, heads, queries, _] = q.dims();
    let keys = k.dims()[2];
    let mask = mask.map(|mask| mask.expand([batch, heads, queries, keys]));
    attention(q, k, v, mask, None, AttentionModuleOptions::default())
}

/// Self-attention over one projection of queries, keys and values, with layer norms of queries
/// and keys per head if `norms` are given.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - `mask`: `[1, 1, sequence, sequence]`, `true` where hidden
/// - output: `[batch, sequence, heads * head_dim]`
pub fn attend_packed(
    qkv: Tensor<3>,
    heads: usize,
    norms: Option<[HeadNorm; 2]>,
    mask: Option<Tensor<4, Bool>>,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if fused::cover(&qkv) {
        let setting = setting(heads, mask);
        let qkv = qkv.into_dispatch();
        return Tensor::from_dispatch(match norms {
            None => Dispatch::attend_packed(qkv, setting),
            Some([q, k]) => {
                let parameters = [q.gamma, q.beta, k.gamma, k.beta];
                let [q_gamma, q_beta, k_gamma, k_beta] = parameters.map(Tensor::into_dispatch);
                Dispatch::attend_packed_normed(qkv, q_gamma, q_beta, k_gamma, k_beta, setting)
            }
        });
    }
    attend_packed_plain(qkv, heads, norms, mask)
}

fn attend_packed_plain(
    qkv: Tensor<3>,
    heads: usize,
    norms: Option<[HeadNorm; 2]>,
    mask: Option<Tensor<4, Bool>>,
) -> Tensor<3> {
    let [q, k, v] = split_qkv(qkv, heads);
    let (q, k) = match norms {
        Some([q_norm, k_norm]) => (q_norm.apply(q), k_norm.apply(k)),
        None => (q, k),
    };
    merge_heads(attend_plain(q, k, v, mask))
}

/// Queries, keys and values of one projection.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - outputs: `[batch, heads, sequence, head_dim]`
pub fn split_qkv(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
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
    pub fn apply(self, x: Tensor<4>) -> Tensor<4> {
        layer_norm(x, self.gamma, Some(self.beta), Self::EPSILON)
    }
}

#[cfg(feature = "flex")]
fn setting(heads: usize, mask: Option<Tensor<4, Bool>>) -> Setting {
    let hidden = mask.map(|mask| {
        let keys = mask.dims()[3];
        let values = mask.into_data().iter::<bool>().map(u8::from).collect();
        Arc::new(Hidden::new(values, keys))
    });
    Setting {
        heads,
        hidden,
        epsilon: HeadNorm::EPSILON,
    }
}

/// The mask of a visibility rule: `true` (hidden) where `visible(query, key)` is false.
///
/// # Shapes
/// - output: `[1, 1, queries, keys]`
pub fn hidden_mask(
    queries: usize,
    keys: usize,
    visible: impl Fn(usize, usize) -> bool,
    device: &Device,
) -> Tensor<4, Bool> {
    let visible = &visible;
    let hidden: Vec<bool> = (0..queries)
        .flat_map(|query| (0..keys).map(move |key| !visible(query, key)))
        .collect();
    Tensor::from_data(TensorData::new(hidden, [1, 1, queries, keys]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "flex")]
    use crate::fused::check::agree;

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
        let mask = hidden_mask(3, 3, |query, key| key <= query, &device);
        let out = attend(q, k, v, Some(mask));
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

    /// Every sixth query starts a frame, which sees the keys up to its own.
    #[cfg(feature = "flex")]
    fn causal(queries: usize, keys: usize) -> Tensor<4, Bool> {
        let visible = |query: usize, key: usize| key < 6 * (query / 6 + 1);
        hidden_mask(queries, keys, visible, &Device::flex())
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_kernel_agrees_with_plain_operations() {
        // More queries than a tile has, not a multiple of it.
        let (queries, keys) = (150, 70);
        for mask in [None, Some(causal(queries, keys))] {
            let [fused, plain] = [attend, attend_plain].map(|function| {
                let mask = mask.clone();
                move |[q, k, v]: [Tensor<1>; 3]| {
                    let heads = |x: Tensor<1>, rows: usize, dim: usize| {
                        x.reshape([2, rows, 2, dim]).swap_dims(1, 2)
                    };
                    let (q, k, v) = (heads(q, queries, 8), heads(k, keys, 8), heads(v, keys, 4));
                    function(q, k, v, mask.clone()).flatten(0, 3)
                }
            });
            agree([32 * queries, 32 * keys, 16 * keys], fused, plain);
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_packed_kernel_agrees_with_plain_operations() {
        let sequence = 130;
        for normed in [false, true] {
            let [fused, plain] = [attend_packed, attend_packed_plain].map(|function| {
                move |[qkv, a, b, c, d]: [Tensor<1>; 5]| {
                    let mask = Some(causal(sequence, sequence));
                    let rest = (a.clone() + b.clone() + c.clone() + d.clone()).sum();
                    let norm = |gamma, beta| HeadNorm { gamma, beta };
                    let norms = normed.then(|| [norm(a, b), norm(c, d)]);
                    let qkv = qkv.reshape([2, sequence, 48]);
                    // The parameters count in both cases, so that all have gradients.
                    function(qkv, 2, norms, mask).flatten(0, 2) + rest
                }
            });
            agree([2 * sequence * 48, 8, 8, 8, 8], fused, plain);
        }
    }
}
