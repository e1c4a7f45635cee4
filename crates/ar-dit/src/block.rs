use ar_ops::{
    attention::{KeysValues, Mask},
    linear::{apply, linear},
    norm::{AdaptiveNorm, Residual, gated_residual, layer_norm, modulate},
    position::Rotation,
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Tensor};

use crate::causal::Pass;
use crate::{Attention, DitConfig, MergeMode, Mlp};

const NORM_EPSILON: f64 = 1e-6;

/// The stream between blocks. Context and video are kept apart because they are conditioned
/// differently; attention alone joins them.
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

/// A transformer block with adaptive layer norm per frame.
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
    /// A block whose modulation starts at zero, so that both halves start as the identity.
    pub fn new(config: &DitConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        Self {
            attn: Attention::new(config, device),
            mlp: Mlp::new(width, config.mlp_hidden(), device),
            ada_ln_modulation: linear([width, 6 * width], Initializer::Zeros, device),
            merge_mode: config.merge_mode,
        }
    }

    /// # Shapes
    /// - `conditioning`: `[batch, frames, width]`, SiLU of the timestep embeddings
    pub fn forward(
        &self,
        tokens: Tokens,
        conditioning: Tensor<3>,
        mask: Option<&Mask>,
        rotation: Option<&Rotation>,
    ) -> Tokens {
        let conditioning = match self.merge_mode {
            // One timestep for all frames; the frame axis of length 1 broadcasts.
            MergeMode::Reproduce => conditioning.narrow(1, 0, 1),
            _ => conditioning,
        };
        let [msa, mlp] = self.halves(self.modulation(conditioning), 0);

        let (residual, input) = self.enter(tokens, &msa);
        let video = input.video.dims();
        let output = Tokens::split(self.attn.forward(input.join(), mask, rotation), video);
        let tokens = self.leave(residual, output, &msa);

        let (residual, input) = self.enter(tokens, &mlp);
        let output = Tokens {
            context: self.mlp.forward(input.context),
            video: self.mlp.forward(input.video),
        };
        self.leave(residual, output, &mlp)
    }

    /// The context part of a block in which context sees context alone and is not modulated.
    ///
    /// # Shapes
    /// - `context` and output: `[batch, context, width]`
    pub(crate) fn forward_context(
        &self,
        context: Tensor<3>,
        rotation: Option<&Rotation>,
    ) -> (Tensor<3>, KeysValues) {
        let (residual, input) = self.enter_context(context);
        let (output, keys_values) = self.attn.forward_context(input, rotation);
        let (residual, input) = self.enter_context(residual + output);
        (residual + self.mlp.forward(input), keys_values)
    }

    /// The video part of a block, given the keys and values of what came before.
    ///
    /// # Shapes
    /// - `video` and output: `[batch, frames, tokens, width]`
    /// - `modulation`: of all blocks, [`Block::modulation`] of each; this is the one of that `index`
    pub(crate) fn forward_video(
        &self,
        video: Tensor<4>,
        modulation: Tensor<3>,
        index: usize,
        past: &mut KeysValues,
        pass: &Pass,
    ) -> Tensor<4> {
        let [msa, mlp] = self.halves(modulation, index);
        let video = self.attn.forward_video(video, msa, past, pass);
        self.mlp.forward_gated(video, mlp)
    }

    /// How frames are modulated, which depends on their timesteps alone: shift, scale and gate of
    /// attention's half, then of the MLP's, side by side.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, frames, width]`, SiLU of the timestep embeddings
    /// - output: `[batch, frames, 6 * width]`
    pub(crate) fn modulation(&self, conditioning: Tensor<3>) -> Tensor<3> {
        apply(&self.ada_ln_modulation, conditioning)
    }

    /// Attention's half and the MLP's, modulated by the [`Block::modulation`] of that `index`.
    fn halves(&self, modulation: Tensor<3>, index: usize) -> [AdaptiveNorm; 2] {
        let half = |chunks: [usize; 3]| AdaptiveNorm {
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
        [half([0, 1, 2]), half(mlp)]
    }

    /// What context and video of a half add their outputs to.
    fn residual(&self) -> Residual {
        match self.merge_mode {
            MergeMode::ShareNorm | MergeMode::ShareNormShiftFirstT => Residual::Normed,
            MergeMode::SeparateNorm | MergeMode::Reproduce => Residual::Input,
        }
    }

    /// What a half adds its output to, and what it reads.
    fn enter(&self, tokens: Tokens, half: &AdaptiveNorm) -> (Tokens, Tokens) {
        let (context, normed) = self.enter_context(tokens.context);
        let (video, modulated) = half.enter(tokens.video);
        let input = Tokens {
            context: match self.merge_mode {
                MergeMode::ShareNorm | MergeMode::SeparateNorm => normed,
                MergeMode::ShareNormShiftFirstT | MergeMode::Reproduce => {
                    let [shift, scale, _] = self.of_frame_0(half);
                    modulate(normed.unsqueeze_dim(1), shift, scale).squeeze_dim(1)
                }
            },
            video: modulated,
        };
        (Tokens { context, video }, input)
    }

    /// What the context part of a half adds its output to, and what it reads before modulation.
    fn enter_context(&self, context: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let normed = layer_norm(context.clone(), NORM_EPSILON);
        let residual = match self.residual() {
            Residual::Normed => normed.clone(),
            Residual::Input => context,
        };
        (residual, normed)
    }

    /// Adds the output of a half, gated: video by its frame, context only in a plain DiT.
    fn leave(&self, residual: Tokens, output: Tokens, half: &AdaptiveNorm) -> Tokens {
        Tokens {
            context: match self.merge_mode {
                MergeMode::Reproduce => {
                    let [residual, output] =
                        [residual.context, output.context].map(|context| context.unsqueeze_dim(1));
                    let [.., gate] = self.of_frame_0(half);
                    gated_residual(residual, gate, output).squeeze_dim(1)
                }
                _ => residual.context + output.context,
            },
            video: half.leave(residual.video, output.video),
        }
    }

    /// Shift, scale and gate of the first frame.
    fn of_frame_0(&self, half: &AdaptiveNorm) -> [Tensor<4>; 3] {
        let [width, _] = self.ada_ln_modulation.weight.dims();
        half.vectors(width).map(|vectors| vectors.narrow(1, 0, 1))
    }
}
