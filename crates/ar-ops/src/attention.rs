//! Multi-head attention over fused projections, and visibility masks.

use burn::tensor::{
    Bool, Device, Tensor, TensorData, module::attention, ops::AttentionModuleOptions,
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
/// - `q`: `[batch, heads, queries, head_dim]`; `k`, `v`: `[batch, heads, keys, head_dim]`
/// - `mask`: `[1, 1, queries, keys]`, `true` where a key is hidden (see [`hidden_mask`])
/// - output: `[batch, heads, queries, head_dim]`
pub fn attend(
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
}
