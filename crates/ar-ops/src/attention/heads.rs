//! Heads: splitting, merging, and their layer norms.

use burn::tensor::{Tensor, module::layer_norm};

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

/// Queries, keys and values of one projection.
///
/// # Shapes
/// - `qkv`: `[batch, sequence, 3 * heads * head_dim]`
/// - outputs: `[batch, heads, sequence, head_dim]`
pub(super) fn split_qkv(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let width = qkv.dims()[2] / 3;
    [0, 1, 2].map(|part| split_heads(qkv.clone().narrow(2, part * width, width), heads))
}

/// Layer norm of every head's queries or keys.
#[derive(Clone, Debug)]
pub struct HeadNorm {
    /// Scale, `[head_dim]`.
    pub gamma: Tensor<1>,
    /// Bias, `[head_dim]`.
    pub beta: Tensor<1>,
}

impl HeadNorm {
    /// Added to the variance: the default of PyTorch and of Burn.
    pub(super) const EPSILON: f64 = 1e-5;

    /// # Shapes
    /// - `x` and output: `[batch, heads, sequence, head_dim]`
    pub(super) fn apply(self, x: Tensor<4>) -> Tensor<4> {
        layer_norm(x, self.gamma, Some(self.beta), Self::EPSILON)
    }

    /// Gamma and beta of queries, then of keys.
    #[cfg(any(feature = "flex", feature = "gpu"))]
    pub(super) fn parameters([q, k]: [Self; 2]) -> [Tensor<1>; 4] {
        [q.gamma, q.beta, k.gamma, k.beta]
    }

    #[cfg(feature = "flex")]
    pub(super) fn primitives(norms: [Self; 2]) -> [burn::backend::flex::FlexTensor; 4] {
        Self::parameters(norms).map(ar_kernels::into_flex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

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
}
