//! Attention by Burn's own operations.

use std::f64::consts::SQRT_2;

use burn::tensor::{Tensor, module::attention, ops::AttentionModuleOptions};

use super::{HeadNorm, KeysValues, Mask, merge_heads, split_qkv};
use crate::position::Rotation;

pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<&Mask>) -> Tensor<4> {
    let [batch, heads, queries, _] = q.dims();
    let keys = k.dims()[2];
    let mask = mask.map(|mask| {
        let hidden = mask.hidden().expand([batch, heads, queries, keys]);
        match q.is_autodiff() {
            true => hidden.autodiff(),
            false => hidden,
        }
    });
    attention(q, k, v, mask, None, AttentionModuleOptions::default())
}

pub fn attend_packed(
    qkv: Tensor<3>,
    heads: usize,
    norms: Option<[HeadNorm; 2]>,
    rotation: Option<&Rotation>,
    mask: Option<&Mask>,
) -> Tensor<3> {
    let plain = rotation.map_or(0, |rotation| qkv.dims()[1] - rotation.positions());
    let [q, k, v] = normed(qkv, heads, norms);
    let k = turned(k, rotation);
    let (q, k) = meeting(q, k, plain, rotation);
    merge_heads(attend(q, k, v, mask))
}

pub fn attend_cached(
    qkv: Tensor<3>,
    past: &KeysValues,
    norms: Option<[HeadNorm; 2]>,
    rotation: Option<&Rotation>,
    mask: Option<&Mask>,
) -> Tensor<3> {
    let [q, k, v] = normed(qkv, past.heads(), norms);
    let kept = past.keys.clone().swap_dims(2, 3);
    let k = Tensor::cat(vec![kept, turned(k, rotation)], 2);
    let v = Tensor::cat(vec![past.values.clone(), v], 2);
    let plain = rotation.map_or(0, |_| past.plain);
    let (q, k) = meeting(q, k, plain, rotation);
    merge_heads(attend(q, k, v, mask))
}

/// Queries, keys and values, the former two after their layer norms.
fn normed(qkv: Tensor<3>, heads: usize, norms: Option<[HeadNorm; 2]>) -> [Tensor<4>; 3] {
    let [q, k, v] = split_qkv(qkv, heads);
    match norms {
        Some([q_norm, k_norm]) => [q_norm.apply(q), k_norm.apply(k), v],
        None => [q, k, v],
    }
}

/// Queries or keys of which the last turn.
pub fn turned(x: Tensor<4>, rotation: Option<&Rotation>) -> Tensor<4> {
    let Some(rotation) = rotation else {
        return x;
    };
    let (rows, turning) = (x.dims()[2], rotation.positions());
    if rows == turning {
        return rotation.rotate(x);
    }
    let plain = x.clone().narrow(2, 0, rows - turning);
    let x = rotation.rotate(x.narrow(2, rows - turning, turning));
    Tensor::cat(vec![plain, x], 2)
}

/// Queries and keys whose products are the scores of queries, which turn for all keys but the
/// first `plain`, and keys, which have turned.
///
/// One dot product does both, over twice the channels: `[turned, plain]` queries meet `[turned, 0]`
/// and `[0, plain]` keys.
fn meeting(
    q: Tensor<4>,
    k: Tensor<4>,
    plain: usize,
    rotation: Option<&Rotation>,
) -> (Tensor<4>, Tensor<4>) {
    if plain == 0 {
        return (turned(q, rotation), k);
    }
    // Attention divides scores by the root of twice the channels.
    let q = q * SQRT_2;
    let q = Tensor::cat(vec![turned(q.clone(), rotation), q], 3);
    let turning = k.dims()[2] - plain;
    let plain = k.clone().narrow(2, 0, plain);
    let plain = Tensor::cat(vec![plain.zeros_like(), plain], 3);
    if turning == 0 {
        return (q, plain);
    }
    let k = k.narrow(2, plain.dims()[2], turning);
    let k = Tensor::cat(vec![k.clone(), k.zeros_like()], 3);
    (q, Tensor::cat(vec![plain, k], 2))
}
