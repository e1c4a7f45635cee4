use ar_ops::{
    attention::{Mask, attention, merge_heads, split_heads},
    linear::{self, linear},
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Tensor, module};

use crate::ArVaeConfig;

/// Multi-head attention in the layout of PyTorch's `MultiheadAttention`: one projection makes
/// query, key and value. Checkpoint keys `attn.in_proj_{weight,bias}` (here `in_proj`),
/// `attn.out_proj`.
#[derive(Module, Debug)]
pub struct MultiheadAttention {
    in_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl MultiheadAttention {
    /// Attention with the configured width and heads.
    ///
    /// Query, key and value start 1.6 times as large as variance-preserving weights. Scores then
    /// differ enough for a token to read a few others rather than the mean of all, which hardly
    /// says where things are. With the mean, training would stay on the plateau where every frame
    /// decodes to the mean frame.
    pub fn new(config: &ArVaeConfig, device: &Device) -> Self {
        let width = config.width;
        let unit = (width as f64).powf(-0.5);
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        Self {
            in_proj: linear([width, 3 * width], normal(1.6 * unit), device),
            out_proj: linear([width, width], normal(unit), device),
            heads: config.heads,
        }
    }

    /// The same with an output projection of zeros, so that a residual around it starts as the
    /// identity.
    pub fn zero_init(config: &ArVaeConfig, device: &Device) -> Self {
        let width = config.width;
        Self {
            out_proj: linear([width, width], Initializer::Zeros, device),
            ..Self::new(config, device)
        }
    }

    /// Self-attention.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, sequence, width]`
    pub fn forward(&self, x: Tensor<3>, mask: Option<&Mask>) -> Tensor<3> {
        let [q, k, v] = linear::apply(&self.in_proj, x)
            .chunk(3, 2)
            .try_into()
            .expect("three projections");
        self.attend([q, k, v], mask)
    }

    /// Cross-attention.
    ///
    /// # Shapes
    /// - `query` and output: `[batch, queries, width]`; `key`, `value`: `[batch, keys, width]`
    pub fn cross(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
        mask: Option<&Mask>,
    ) -> Tensor<3> {
        let width = query.dims()[2];
        let weight = self.in_proj.weight.val().cast(query.dtype());
        let bias = self.in_proj.bias.as_ref().map(|bias| bias.val());
        let project = |x, part: usize| {
            let weight = weight.clone().narrow(1, part * width, width);
            let bias = bias.clone().map(|bias| bias.narrow(0, part * width, width));
            module::linear(x, weight, bias)
        };
        self.attend(
            [project(query, 0), project(key, 1), project(value, 2)],
            mask,
        )
    }

    fn attend(&self, qkv: [Tensor<3>; 3], mask: Option<&Mask>) -> Tensor<3> {
        let [q, k, v] = qkv.map(|x| split_heads(x, self.heads));
        linear::apply(&self.out_proj, merge_heads(attention(q, k, v, mask)))
    }
}
