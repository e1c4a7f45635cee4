use ar_ops::{
    attention::{HeadNorm, KeysValues, Mask, attend_packed, gated_attention},
    linear::{apply, linear},
    norm::AdaptiveNorm,
    position::Rotation,
};
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor};

use crate::DitConfig;
use crate::causal::Pass;

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

    /// With a `rotation` the last tokens of the sequence turn; see [`attend_packed`].
    ///
    /// # Shapes
    /// - `x` and output: `[batch, sequence, width]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        mask: Option<&Mask>,
        rotation: Option<&Rotation>,
    ) -> Tensor<3> {
        let qkv = apply(&self.qkv, x);
        let output = attend_packed(qkv, self.num_heads, self.head_norms(), rotation, mask);
        apply(&self.proj, output)
    }

    /// Context attending to context alone, with its keys and values.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, context, width]`
    pub(crate) fn forward_context(
        &self,
        x: Tensor<3>,
        rotation: Option<&Rotation>,
    ) -> (Tensor<3>, KeysValues) {
        let plain = match rotation {
            Some(_) => 0,
            None => x.dims()[1],
        };
        let qkv = apply(&self.qkv, x);
        let keys_values = self.keys_values(qkv.clone(), rotation, plain);
        let output = attend_packed(qkv, self.num_heads, self.head_norms(), rotation, None);
        (apply(&self.proj, output), keys_values)
    }

    /// Half of a block, in which video tokens attend to what is kept and to one another; see
    /// [`gated_attention`]. Their own keys and values are kept as `pass` says.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, width]`
    pub(crate) fn forward_video(
        &self,
        x: Tensor<4>,
        norm: AdaptiveNorm,
        past: &mut KeysValues,
        pass: &Pass,
    ) -> Tensor<4> {
        let (rotation, mask) = (pass.rotation.as_ref(), pass.mask.as_ref());
        let norms = self.head_norms();
        let layers = [&self.qkv, &self.proj];
        let kept = pass.keep.as_ref().map(|keep| {
            let new = (!keep.new.is_empty()).then(|| {
                let frames = x.clone().narrow(1, keep.new.start, keep.new.len());
                let (_, input) = norm.of_frames(keep.new.clone()).enter(frames);
                let qkv = apply(&self.qkv, input.flatten(1, 2));
                self.keys_values(qkv, keep.rotation.as_ref(), 0)
            });
            past.advance(keep.context, keep.dropped, new)
        });
        let output = gated_attention(x, norm, layers, past, norms, rotation, mask);
        if let Some(kept) = kept {
            *past = kept;
        }
        output
    }

    fn keys_values(&self, qkv: Tensor<3>, rotation: Option<&Rotation>, plain: usize) -> KeysValues {
        let norm = self.head_norms().map(|[_, k_norm]| k_norm);
        KeysValues::new(qkv, self.num_heads, norm, rotation, plain)
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
