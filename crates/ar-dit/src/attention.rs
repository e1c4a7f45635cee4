use ar_ops::{
    attention::{attend, merge_heads, split_heads},
    linear::linear,
};
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor};

use crate::{DitConfig, Rotations};

/// Multi-head self-attention with a fused query-key-value projection.
/// Checkpoint keys `attn.qkv`, `attn.proj`, `attn.q_norm`, `attn.k_norm`.
#[derive(Module, Debug)]
pub struct Attention {
    qkv: Linear,
    q_norm: Option<LayerNorm>,
    k_norm: Option<LayerNorm>,
    proj: Linear,
    num_heads: usize,
}

impl Attention {
    /// Self-attention of the configured width and heads, Xavier-uniform.
    pub fn new(config: &DitConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        let head_norm = || {
            config
                .qk_norm
                .then(|| LayerNormConfig::new(width / config.num_heads).init(device))
        };
        Self {
            qkv: linear([width, 3 * width], xavier.clone(), device),
            q_norm: head_norm(),
            k_norm: head_norm(),
            proj: linear([width, width], xavier, device),
            num_heads: config.num_heads,
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, sequence, width]`
    /// - `mask`: `[1, 1, sequence, sequence]`, `true` where hidden
    pub fn forward(
        &self,
        x: Tensor<3>,
        mask: Option<Tensor<4, Bool>>,
        rotations: &Rotations,
    ) -> Tensor<3> {
        let [q, k, v] = self.project(x);
        let (q, k) = rotations.apply(q, k);
        self.proj.forward(merge_heads(attend(q, k, v, mask)))
    }

    /// Queries, keys and values, `[batch, heads, sequence, head_dim]`.
    fn project(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        let [q, k, v] = self
            .qkv
            .forward(x)
            .chunk(3, 2)
            .try_into()
            .expect("three projections");
        let [q, k, v] = [q, k, v].map(|x| split_heads(x, self.num_heads));
        let norm = |x, norm: &Option<LayerNorm>| match norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        [norm(q, &self.q_norm), norm(k, &self.k_norm), v]
    }
}
