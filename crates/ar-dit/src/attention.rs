use ar_ops::{
    attention::{HeadNorm, attend, attend_packed, merge_heads, split_qkv},
    linear::{apply, linear},
    position::Rotation,
};
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor};

use crate::DitConfig;

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
        rotation: Option<&Rotation>,
    ) -> Tensor<3> {
        let qkv = apply(&self.qkv, x);
        let norm = |norm: &LayerNorm| HeadNorm {
            gamma: norm.gamma.val(),
            beta: norm.beta.as_ref().expect("made with a bias").val(),
        };
        let norms = match (&self.q_norm, &self.k_norm) {
            (Some(q), Some(k)) => Some([norm(q), norm(k)]),
            _ => None,
        };
        let Some(rotation) = rotation else {
            return apply(&self.proj, attend_packed(qkv, self.num_heads, norms, mask));
        };
        let [mut q, mut k, v] = split_qkv(qkv, self.num_heads);
        if let Some([q_norm, k_norm]) = norms {
            (q, k) = (q_norm.apply(q), k_norm.apply(k));
        }
        let (q, k) = (rotation.rotate(q), rotation.rotate(k));
        apply(&self.proj, merge_heads(attend(q, k, v, mask)))
    }
}
