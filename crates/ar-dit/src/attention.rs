use ar_ops::{
    attention::{AttentionOptions, HeadNorm, LayerKvCache, Mask, gated_attention, self_attention},
    linear::{apply, linear},
    norm::AdaptiveNorm,
    rotary::RotaryEmbedding,
};
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor};

use crate::DitConfig;
use crate::kv_cache::Pass;

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
    /// Self-attention with the configured width and heads, initialised Xavier-uniform.
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

    /// Self-attention; `rotary` applies to the last tokens of the sequence (see
    /// [`AttentionOptions::rotary`]).
    ///
    /// # Shapes
    /// - `x` and output: `[batch, sequence, width]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        mask: Option<&Mask>,
        rotary: Option<&RotaryEmbedding>,
    ) -> Tensor<3> {
        let qkv = apply(&self.qkv, x);
        let output = self_attention(qkv, self.options(rotary, mask));
        apply(&self.proj, output)
    }

    /// Context that attends only to context, with its keys and values.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, context, width]`
    pub(crate) fn forward_context(
        &self,
        x: Tensor<3>,
        rotary: Option<&RotaryEmbedding>,
    ) -> (Tensor<3>, LayerKvCache) {
        let unrotated = match rotary {
            Some(_) => 0,
            None => x.dims()[1],
        };
        let qkv = apply(&self.qkv, x);
        let options = self.options(rotary, None);
        let cache = LayerKvCache::new(qkv.clone(), &options, unrotated);
        (apply(&self.proj, self_attention(qkv, options)), cache)
    }

    /// The attention sub-layer, in which video tokens attend to the cache and to each other; see
    /// [`gated_attention`]. `pass` says which of their own keys and values enter the cache.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, width]`
    pub(crate) fn forward_video(
        &self,
        x: Tensor<4>,
        norm: AdaptiveNorm,
        cache: &mut LayerKvCache,
        pass: &Pass,
    ) -> Tensor<4> {
        let layers = [&self.qkv, &self.proj];
        let next_cache = pass.update.as_ref().map(|update| {
            let new = (!update.new.is_empty()).then(|| {
                let frames = x.clone().narrow(1, update.new.start, update.new.len());
                let norm = norm.narrow_frames(update.new.clone());
                let (_, input) = norm.modulated_input(frames);
                let qkv = apply(&self.qkv, input.flatten(1, 2));
                LayerKvCache::new(qkv, &self.options(update.rotary.as_ref(), None), 0)
            });
            cache.advance(update.context, update.dropped, new)
        });
        let options = self.options(pass.rotary.as_ref(), pass.mask.as_ref());
        let output = gated_attention(x, norm, layers, cache, options);
        if let Some(next_cache) = next_cache {
            *cache = next_cache;
        }
        output
    }

    fn options<'a>(
        &self,
        rotary: Option<&'a RotaryEmbedding>,
        mask: Option<&'a Mask>,
    ) -> AttentionOptions<'a> {
        AttentionOptions {
            heads: self.num_heads,
            qk_norm: self.head_norms(),
            rotary,
            mask,
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
