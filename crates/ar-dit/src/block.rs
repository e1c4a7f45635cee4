use ar_ops::{
    attention::{KeysValues, Mask},
    linear::{apply, linear},
    norm::{Gated, gated_residual, layer_norm, layer_norm_modulate, modulate},
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

/// Shift, scale and gate of one half of a block, `[batch, frames, 1, width]` each.
#[derive(Clone, Debug)]
struct Half {
    shift: Tensor<4>,
    scale: Tensor<4>,
    gate: Tensor<4>,
}

/// How frames are modulated: attention's half and the MLP's.
#[derive(Clone, Debug)]
pub(crate) struct Modulation([Half; 2]);

impl Modulation {
    /// # Shapes
    /// - `chunks`: `[batch, frames, 6 * width]`, in the order of the checkpoint
    pub fn of_chunks(chunks: Tensor<3>) -> Self {
        let mut chunks = chunks.unsqueeze_dim::<4>(2).chunk(6, 3).into_iter();
        let mut next = || chunks.next().expect("six chunks");
        Self([(); 2].map(|()| Half {
            shift: next(),
            scale: next(),
            gate: next(),
        }))
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
        let Modulation([msa, mlp]) = self.modulation(conditioning);

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
    pub(crate) fn forward_video(
        &self,
        video: Tensor<4>,
        modulation: Modulation,
        past: &mut KeysValues,
        pass: &Pass,
    ) -> Tensor<4> {
        let Modulation([msa, mlp]) = modulation;
        let enter = |video, half: Half| {
            let (residual, input) = self.enter_video(video, &half);
            let gate = half.gate;
            (Gated { residual, gate }, input)
        };
        let (gated, input) = enter(video, msa);
        let video = self.attn.forward_video(gated, input, past, pass);
        let (gated, input) = enter(video, mlp);
        self.mlp.forward_gated(gated, input)
    }

    /// How frames are modulated, which depends on their timesteps alone.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, frames, width]`, SiLU of the timestep embeddings
    fn modulation(&self, conditioning: Tensor<3>) -> Modulation {
        let conditioning = match self.merge_mode {
            // One timestep for all frames; the frame axis of length 1 broadcasts.
            MergeMode::Reproduce => conditioning.narrow(1, 0, 1),
            _ => conditioning,
        };
        let Modulation([msa, mut mlp]) =
            Modulation::of_chunks(self.modulation_chunks(conditioning));
        if self.merge_mode == MergeMode::ShareNormShiftFirstT {
            // The reference never reads the MLP's own shift and scale in this mode.
            mlp.shift = msa.shift.clone();
            mlp.scale = msa.scale.clone();
        }
        Modulation([msa, mlp])
    }

    /// Shifts, scales and gates of both halves, side by side.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, frames, width]`, SiLU of the timestep embeddings
    /// - output: `[batch, frames, 6 * width]`
    pub(crate) fn modulation_chunks(&self, conditioning: Tensor<3>) -> Tensor<3> {
        apply(&self.ada_ln_modulation, conditioning)
    }

    /// What a half adds its output to, and what it reads.
    fn enter(&self, tokens: Tokens, half: &Half) -> (Tokens, Tokens) {
        let (context, normed) = self.enter_context(tokens.context);
        let (video, modulated) = self.enter_video(tokens.video, half);
        let input = Tokens {
            context: match self.merge_mode {
                MergeMode::ShareNorm | MergeMode::SeparateNorm => normed,
                MergeMode::ShareNormShiftFirstT | MergeMode::Reproduce => {
                    let frame_0 = |modulation: &Tensor<4>| modulation.clone().narrow(1, 0, 1);
                    let normed = normed.unsqueeze_dim(1);
                    modulate(normed, frame_0(&half.shift), frame_0(&half.scale)).squeeze_dim(1)
                }
            },
            video: modulated,
        };
        (Tokens { context, video }, input)
    }

    /// What the context part of a half adds its output to, and what it reads before modulation.
    fn enter_context(&self, context: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let normed = layer_norm(context.clone(), NORM_EPSILON);
        let residual = match self.merge_mode {
            MergeMode::ShareNorm | MergeMode::ShareNormShiftFirstT => normed.clone(),
            MergeMode::SeparateNorm | MergeMode::Reproduce => context,
        };
        (residual, normed)
    }

    /// What the video part of a half adds its output to, and what it reads.
    fn enter_video(&self, video: Tensor<4>, half: &Half) -> (Tensor<4>, Tensor<4>) {
        let (shift, scale) = (half.shift.clone(), half.scale.clone());
        match self.merge_mode {
            MergeMode::ShareNorm | MergeMode::ShareNormShiftFirstT => {
                let normed = layer_norm(video, NORM_EPSILON);
                (normed.clone(), modulate(normed, shift, scale))
            }
            MergeMode::SeparateNorm | MergeMode::Reproduce => {
                let input = layer_norm_modulate(video.clone(), shift, scale, NORM_EPSILON);
                (video, input)
            }
        }
    }

    /// Adds the output of a half, gated: video by its frame, context only in a plain DiT.
    fn leave(&self, residual: Tokens, output: Tokens, half: &Half) -> Tokens {
        let gate = half.gate.clone();
        Tokens {
            context: match self.merge_mode {
                MergeMode::Reproduce => {
                    let [residual, output] =
                        [residual.context, output.context].map(|context| context.unsqueeze_dim(1));
                    gated_residual(residual, gate.clone().narrow(1, 0, 1), output).squeeze_dim(1)
                }
                _ => residual.context + output.context,
            },
            video: gated_residual(residual.video, gate, output.video),
        }
    }
}
