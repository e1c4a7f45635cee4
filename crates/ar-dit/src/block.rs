//! A transformer block: attention and MLP, each inside an adaptive layer norm.

use ar_ops::{
    attention::{LayerKvCache, Mask},
    linear::{apply, linear},
    norm::{AdaptiveNorm, Residual, gated_residual, layer_norm, modulate},
    rotary::RotaryEmbedding,
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Tensor};

use crate::kv_cache::Pass;
use crate::{Attention, DitConfig, MergeMode, Mlp};

const NORM_EPSILON: f64 = 1e-6;

/// The tokens between blocks. Context and video are kept apart because they are conditioned
/// differently; only attention joins them.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `[batch, context, width]`
    pub context: Tensor<3>,
    /// `[batch, frames, tokens, width]`
    pub video: Tensor<4>,
}

impl Tokens {
    /// `[batch, context + frames * tokens, width]`
    fn join(self) -> Tensor<3> {
        Tensor::cat(vec![self.context, self.video.flatten(1, 2)], 1)
    }

    /// The inverse of [`Tokens::join`] for a video of `[batch, frames, tokens, width]`.
    fn split(sequence: Tensor<3>, video: [usize; 4]) -> Self {
        let length = video[1] * video[2];
        let context = sequence.dims()[1] - length;
        Self {
            context: sequence.clone().narrow(1, 0, context),
            video: sequence.narrow(1, context, length).reshape(video),
        }
    }
}

/// A transformer block with adaptive layer norm per frame; see [`Block::forward`].
/// Checkpoint keys `attn`, `mlp`, `adaLN_modulation.1`.
#[derive(Module, Debug)]
pub struct Block {
    attn: Attention,
    mlp: Mlp,
    ada_ln_modulation: Linear,
    #[module(skip)]
    merge_mode: MergeMode,
}

impl Block {
    /// A block whose modulation starts at zero, so that both sub-layers start as the identity.
    pub fn new(config: &DitConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        Self {
            attn: Attention::new(config, device),
            mlp: Mlp::new(width, config.mlp_hidden(), device),
            ada_ln_modulation: linear([width, 6 * width], Initializer::Zeros, device),
            merge_mode: config.merge_mode,
        }
    }

    /// The block's equation for the video tokens `x` of a frame with timestep embedding `c`
    /// (adaLN-zero, Peebles and Xie, 2023):
    ///
    /// ```text
    /// shift₁, scale₁, gate₁, shift₂, scale₂, gate₂ = modulation(c)
    /// x = residual(x) + gate₁ * attention(layer_norm(x) (1 + scale₁) + shift₁)
    /// x = residual(x) + gate₂ *       mlp(layer_norm(x) (1 + scale₂) + shift₂)
    /// ```
    ///
    /// where `residual(x)` is `layer_norm(x)` for [`MergeMode::ShareNorm`] and
    /// [`MergeMode::ShareNormShiftFirstT`], and `x` otherwise. Context tokens run through the same
    /// sub-layers without modulation and gate (`shift = scale = 0`, `gate = 1`), except that they
    /// take shift and scale from frame 0 in [`MergeMode::ShareNormShiftFirstT`] and shift, scale and
    /// gate from frame 0 in [`MergeMode::Reproduce`].
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, frames, width]`, SiLU of the timestep embeddings
    pub fn forward(
        &self,
        tokens: Tokens,
        conditioning: Tensor<3>,
        mask: Option<&Mask>,
        rotary: Option<&RotaryEmbedding>,
    ) -> Tokens {
        let conditioning = match self.merge_mode {
            // One timestep for all frames; the frame axis of length 1 broadcasts.
            MergeMode::Reproduce => conditioning.narrow(1, 0, 1),
            _ => conditioning,
        };
        let [attn, mlp] = self.sublayer_norms(self.modulation(conditioning), 0);

        let (residual, input) = self.modulated_input(tokens, &attn);
        let video = input.video.dims();
        let output = Tokens::split(self.attn.forward(input.join(), mask, rotary), video);
        let tokens = self.gated_residual(residual, output, &attn);

        let (residual, input) = self.modulated_input(tokens, &mlp);
        let output = Tokens {
            context: self.mlp.forward(input.context),
            video: self.mlp.forward(input.video),
        };
        self.gated_residual(residual, output, &mlp)
    }

    /// The context's part of a block in which context attends only to context and is not modulated.
    ///
    /// # Shapes
    /// - `context` and output: `[batch, context, width]`
    pub(crate) fn forward_context(
        &self,
        context: Tensor<3>,
        rotary: Option<&RotaryEmbedding>,
    ) -> (Tensor<3>, LayerKvCache) {
        let (residual, input) = self.normed_context(context);
        let (output, cache) = self.attn.forward_context(input, rotary);
        let (residual, input) = self.normed_context(residual + output);
        (residual + self.mlp.forward(input), cache)
    }

    /// The video's part of a block, given the KV cache of everything before it.
    ///
    /// # Shapes
    /// - `video` and output: `[batch, frames, tokens, width]`
    /// - `modulation`: [`Block::modulation`] of all blocks, concatenated; this block has number `index`
    pub(crate) fn forward_video(
        &self,
        video: Tensor<4>,
        modulation: Tensor<3>,
        index: usize,
        cache: &mut LayerKvCache,
        pass: &Pass,
    ) -> Tensor<4> {
        let [attn, mlp] = self.sublayer_norms(modulation, index);
        let video = self.attn.forward_video(video, attn, cache, pass);
        self.mlp.forward_gated(video, mlp)
    }

    /// The modulation of frames, which depends only on their timesteps: shift, scale and gate of the attention
    /// sub-layer, then of the MLP sub-layer, concatenated.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, frames, width]`, SiLU of the timestep embeddings
    /// - output: `[batch, frames, 6 * width]`
    pub(crate) fn modulation(&self, conditioning: Tensor<3>) -> Tensor<3> {
        apply(&self.ada_ln_modulation, conditioning)
    }

    /// The adaptive norms of the attention and MLP sub-layers; `index` as for
    /// [`Block::forward_video`].
    fn sublayer_norms(&self, modulation: Tensor<3>, index: usize) -> [AdaptiveNorm; 2] {
        let norm = |chunks: [usize; 3]| AdaptiveNorm {
            modulation: modulation.clone(),
            chunks: chunks.map(|chunk| 6 * index + chunk),
            residual: self.residual(),
            epsilon: NORM_EPSILON,
        };
        let mlp = match self.merge_mode {
            // The reference never reads the MLP's own shift and scale in this mode.
            MergeMode::ShareNormShiftFirstT => [0, 1, 5],
            _ => [3, 4, 5],
        };
        [norm([0, 1, 2]), norm(mlp)]
    }

    /// What context and video add the outputs of a sub-layer to.
    fn residual(&self) -> Residual {
        match self.merge_mode {
            MergeMode::ShareNorm | MergeMode::ShareNormShiftFirstT => Residual::Normed,
            MergeMode::SeparateNorm | MergeMode::Reproduce => Residual::Input,
        }
    }

    /// The residual, and the input of a sub-layer, normalised and modulated.
    fn modulated_input(&self, tokens: Tokens, norm: &AdaptiveNorm) -> (Tokens, Tokens) {
        let (context, normed) = self.normed_context(tokens.context);
        let (video, modulated) = norm.modulated_input(tokens.video);
        let input = Tokens {
            context: match self.merge_mode {
                MergeMode::ShareNorm | MergeMode::SeparateNorm => normed,
                MergeMode::ShareNormShiftFirstT | MergeMode::Reproduce => {
                    let [shift, scale, _] = self.modulation_of_frame_0(norm);
                    modulate(normed.unsqueeze_dim(1), shift, scale).squeeze_dim(1)
                }
            },
            video: modulated,
        };
        (Tokens { context, video }, input)
    }

    /// The residual of the context, and the context after its layer norm.
    fn normed_context(&self, context: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let normed = layer_norm(context.clone(), NORM_EPSILON);
        let residual = match self.residual() {
            Residual::Normed => normed.clone(),
            Residual::Input => context,
        };
        (residual, normed)
    }

    /// Adds the gated output of a sub-layer: video tokens are gated by frame, context tokens only in a plain DiT.
    fn gated_residual(&self, residual: Tokens, output: Tokens, norm: &AdaptiveNorm) -> Tokens {
        Tokens {
            context: match self.merge_mode {
                MergeMode::Reproduce => {
                    let [residual, output] =
                        [residual.context, output.context].map(|context| context.unsqueeze_dim(1));
                    let [.., gate] = self.modulation_of_frame_0(norm);
                    gated_residual(residual, gate, output).squeeze_dim(1)
                }
                _ => residual.context + output.context,
            },
            video: norm.gated_residual(residual.video, output.video),
        }
    }

    /// Shift, scale and gate of the first frame.
    fn modulation_of_frame_0(&self, norm: &AdaptiveNorm) -> [Tensor<4>; 3] {
        let [width, _] = self.ada_ln_modulation.weight.dims();
        norm.vectors(width).map(|vectors| vectors.narrow(1, 0, 1))
    }
}
