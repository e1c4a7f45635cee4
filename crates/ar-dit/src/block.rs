use ar_ops::{
    linear::{apply, linear},
    norm::{gated_residual, layer_norm, layer_norm_modulate, modulate},
    position::Rotation,
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Bool, Device, Tensor};

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
    fn norm(self) -> Self {
        Self {
            context: layer_norm(self.context, NORM_EPSILON),
            video: layer_norm(self.video, NORM_EPSILON),
        }
    }

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
struct Modulation {
    shift: Tensor<4>,
    scale: Tensor<4>,
    gate: Tensor<4>,
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
    /// - `mask`: `[1, 1, sequence, sequence]`, `true` where hidden
    pub fn forward(
        &self,
        tokens: Tokens,
        conditioning: Tensor<3>,
        mask: Option<Tensor<4, Bool>>,
        rotation: Option<&Rotation>,
    ) -> Tokens {
        let [msa, mlp] = self.modulation(conditioning);

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

    /// Attention's and the MLP's modulation, in the order of the checkpoint's chunks.
    fn modulation(&self, conditioning: Tensor<3>) -> [Modulation; 2] {
        let conditioning = match self.merge_mode {
            // One timestep for all frames; the frame axis of length 1 broadcasts.
            MergeMode::Reproduce => conditioning.narrow(1, 0, 1),
            _ => conditioning,
        };
        let mut chunks = apply(&self.ada_ln_modulation, conditioning)
            .unsqueeze_dim::<4>(2)
            .chunk(6, 3)
            .into_iter();
        let mut next = || chunks.next().expect("six chunks");
        let [msa, mut mlp] = [(); 2].map(|()| Modulation {
            shift: next(),
            scale: next(),
            gate: next(),
        });
        if self.merge_mode == MergeMode::ShareNormShiftFirstT {
            // The reference never reads the MLP's own shift and scale in this mode.
            mlp.shift = msa.shift.clone();
            mlp.scale = msa.scale.clone();
        }
        [msa, mlp]
    }

    /// What a half adds its output to, and what it reads.
    fn enter(&self, tokens: Tokens, half: &Modulation) -> (Tokens, Tokens) {
        let (shift, scale) = (half.shift.clone(), half.scale.clone());
        let frame_0 = [&shift, &scale].map(|modulation| modulation.clone().narrow(1, 0, 1));
        match self.merge_mode {
            MergeMode::ShareNorm => {
                let normed = tokens.norm();
                let video = modulate(normed.video.clone(), shift, scale);
                let context = normed.context.clone();
                (normed, Tokens { context, video })
            }
            MergeMode::ShareNormShiftFirstT => {
                let normed = tokens.norm();
                let video = modulate(normed.video.clone(), shift, scale);
                let [shift, scale] = frame_0;
                let context = normed.context.clone().unsqueeze_dim(1);
                let context = modulate(context, shift, scale).squeeze_dim(1);
                (normed, Tokens { context, video })
            }
            MergeMode::SeparateNorm => {
                let context = layer_norm(tokens.context.clone(), NORM_EPSILON);
                let video = layer_norm_modulate(tokens.video.clone(), shift, scale, NORM_EPSILON);
                (tokens, Tokens { context, video })
            }
            MergeMode::Reproduce => {
                let video = layer_norm_modulate(tokens.video.clone(), shift, scale, NORM_EPSILON);
                let [shift, scale] = frame_0;
                let context = tokens.context.clone().unsqueeze_dim(1);
                let context = layer_norm_modulate(context, shift, scale, NORM_EPSILON);
                let context = context.squeeze_dim(1);
                (tokens, Tokens { context, video })
            }
        }
    }

    /// Adds the output of a half, gated: video by its frame, context only in a plain DiT.
    fn leave(&self, residual: Tokens, output: Tokens, half: &Modulation) -> Tokens {
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
