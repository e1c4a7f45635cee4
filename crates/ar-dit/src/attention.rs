use ar_ops::{
    attention::{HeadNorm, attend, attend_packed, merge_heads, split_qkv},
    linear::{apply, linear},
};
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor};

use crate::causal::{Keep, Pass};
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
        if let Rotations::None = rotations {
            let qkv = apply(&self.qkv, x);
            let output = attend_packed(qkv, self.num_heads, self.head_norms(), mask);
            return apply(&self.proj, output);
        }
        let [q, k, v] = self.project(x);
        let (q, k) = rotations.apply(q, k);
        apply(&self.proj, merge_heads(attend(q, k, v, mask)))
    }

    /// Context attending to context alone, with its keys and values.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, context, width]`
    pub(crate) fn forward_context(
        &self,
        x: Tensor<3>,
        rotations: &Rotations,
    ) -> (Tensor<3>, KeyValues) {
        let [q, k, v] = self.project(x);
        let (q, k) = (rotations.context_queries(q), rotations.context_keys(k));
        let output = attend(q, k.clone(), v.clone(), None);
        let output = apply(&self.proj, merge_heads(output));
        (output, KeyValues { keys: k, values: v })
    }

    /// Video tokens attending to what is kept and to one another; their own keys and values are
    /// kept as `pass` says.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, new tokens, width]`
    pub(crate) fn forward_video(
        &self,
        x: Tensor<3>,
        past: &mut KeyValues,
        pass: &Pass,
    ) -> Tensor<3> {
        let [q, k, v] = self.project(x);
        let q = pass.rotations.video_queries(q);
        let mut all = past.append(pass.rotations.video_keys(k), v);
        let output = attend(q, all.keys.clone(), all.values.clone(), pass.mask.clone());
        if let Some(keep) = pass.keep {
            all.keep(keep);
            *past = all;
        }
        apply(&self.proj, merge_heads(output))
    }

    /// Queries, keys and values, `[batch, heads, sequence, head_dim]`.
    fn project(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        let [q, k, v] = split_qkv(apply(&self.qkv, x), self.num_heads);
        match self.head_norms() {
            Some([q_norm, k_norm]) => [q_norm.apply(q), k_norm.apply(k), v],
            None => [q, k, v],
        }
    }

    /// The norms of queries and keys.
    fn head_norms(&self) -> Option<[HeadNorm; 2]> {
        let norm = |norm: &LayerNorm| HeadNorm {
            gamma: norm.gamma.val(),
            beta: norm.beta.as_ref().expect("made with a bias").val(),
        };
        match (&self.q_norm, &self.k_norm) {
            (Some(q), Some(k)) => Some([norm(q), norm(k)]),
            _ => None,
        }
    }
}

/// Keys and values of one block, `[batch, heads, sequence, channels]`, context first.
#[derive(Clone, Debug)]
pub(crate) struct KeyValues {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KeyValues {
    fn append(&self, keys: Tensor<4>, values: Tensor<4>) -> Self {
        Self {
            keys: Tensor::cat(vec![self.keys.clone(), keys], 2),
            values: Tensor::cat(vec![self.values.clone(), values], 2),
        }
    }

    #[cfg(test)]
    pub fn tokens(&self) -> usize {
        assert_eq!(self.keys.dims()[2], self.values.dims()[2]);
        self.keys.dims()[2]
    }

    pub fn keep(&mut self, keep: Keep) {
        for tensor in [&mut self.keys, &mut self.values] {
            let all = tensor.clone();
            let context = all.clone().narrow(2, 0, keep.context);
            *tensor = if keep.video == 0 {
                context
            } else {
                // A copy even where a view would do: appending to a view is slow, and every pass
                // to come appends to what is kept.
                let video = all.narrow(2, keep.context + keep.skipped, keep.video);
                Tensor::cat(vec![context, video], 2)
            };
        }
    }
}
