use ar_activation_checkpointing::ActivationCheckpointing;
use ar_ops::{
    attention::Mask,
    linear::{apply, dtype, linear},
    norm::layer_norm,
    rotary::RotaryEmbedding,
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, activation::silu, assert_shape};

use crate::mask::SequenceLengths;
use crate::on_device::OnDevice;
use crate::position_embedding::{PositionTables, add_rows};
use crate::{Block, DitConfig, DitConfigError, PositionEmbedding, TimestepEmbedder, Tokens};

/// Where field paths of [`Dit`] differ from the keys of published checkpoints: `(path, key)` of the parts that differ.
pub const CHECKPOINT_KEYS: [(&str, &str); 4] = [
    ("t_embedder.mlp_in.", "t_embedder.mlp.0."),
    ("t_embedder.mlp_out.", "t_embedder.mlp.2."),
    ("ada_ln_modulation.", "adaLN_modulation.1."),
    ("final_layer.", "final_layer.1."),
];

/// What depends on the positions of tokens in a sequence.
#[derive(Clone, Debug)]
struct SequenceTables {
    /// What is added to video tokens.
    rows: Option<Tensor<4>>,
    rotary: Option<RotaryEmbedding>,
    mask: Option<Mask>,
}

/// The diffusion transformer over context and video tokens.
///
/// Published checkpoints have it under `diffusion_model.model.`; their keys equal the field paths except for
/// [`CHECKPOINT_KEYS`].
#[derive(Module, Debug)]
pub struct Dit {
    pub(crate) x_embedder: Linear,
    pub(crate) c_embedder: Linear,
    pub(crate) t_embedder: TimestepEmbedder,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_layer: Linear,
    #[module(skip)]
    pub(crate) positions: PositionTables,
    /// By the first frame and the number of frames of a sequence.
    #[module(skip)]
    sequence: OnDevice<[usize; 2], SequenceTables>,
    #[module(skip)]
    config: DitConfig,
}

impl DitConfig {
    /// A freshly initialised transformer. Linear layers are Xavier-uniform; modulation and final layer are zero, so
    /// that training starts from the identity and a prediction of zero.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn init(&self, device: &Device) -> Result<Dit, DitConfigError> {
        self.validate()?;
        let width = self.hidden_size;
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        Ok(Dit {
            x_embedder: linear([self.in_channels, width], xavier.clone(), device),
            c_embedder: linear([self.context_dim, width], xavier, device),
            t_embedder: TimestepEmbedder::new(width, device),
            blocks: (0..self.depth).map(|_| Block::new(self, device)).collect(),
            final_layer: linear([width, self.in_channels], Initializer::Zeros, device),
            positions: PositionTables::new(self),
            sequence: OnDevice::default(),
            config: self.clone(),
        })
    }
}

impl Dit {
    /// The configuration of the network.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// Predicts the diffusion target of every frame.
    ///
    /// Positions count from the first frame of `x`, so a window that slides over a longer video can be passed as it is.
    /// The network computes in the precision of its weights; the output is in f32.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, channels]`, at most `num_frames` frames; any
    ///   number with [`PositionEmbedding::FrameRotary`]
    /// - `timesteps`: `[batch, frames]`
    /// - `context`: `[batch, context_tokens, context_dim]`
    pub fn forward(
        &self,
        x: Tensor<4>,
        timesteps: Tensor<2, Int>,
        context: Tensor<3>,
    ) -> Tensor<4> {
        self.forward_checkpointed(
            &mut ActivationCheckpointing::new(false),
            x,
            timesteps,
            context,
        )
    }

    /// [`Dit::forward`] for a backward pass by [`ActivationCheckpointing::backward`].
    ///
    /// # Shapes
    /// As [`Dit::forward`].
    pub fn forward_checkpointed(
        &self,
        checkpointing: &mut ActivationCheckpointing,
        x: Tensor<4>,
        timesteps: Tensor<2, Int>,
        context: Tensor<3>,
    ) -> Tensor<4> {
        self.forward_from(0, checkpointing, x, timesteps, context)
    }

    /// [`Dit::forward_checkpointed`] with positions that count from `first`, the number of the first
    /// frame.
    fn forward_from(
        &self,
        first: usize,
        checkpointing: &mut ActivationCheckpointing,
        x: Tensor<4>,
        timesteps: Tensor<2, Int>,
        context: Tensor<3>,
    ) -> Tensor<4> {
        let config = &self.config;
        let [batch, frames, tokens, _] = x.dims();
        assert_shape!(
            x,
            [batch, frames, config.tokens_per_frame, config.in_channels]
        );
        assert_shape!(timesteps, [batch, frames]);
        assert_shape!(context, [batch, config.context_tokens, config.context_dim]);
        assert!(
            frames <= config.num_frames || config.positions == PositionEmbedding::FrameRotary,
            "{frames} frames in a window of {}",
            config.num_frames
        );
        let device = x.device();

        let (x, context) = (x.cast(self.dtype()), context.cast(self.dtype()));
        let SequenceTables { rows, rotary, mask } =
            self.sequence.get(&device, [first, frames], || {
                let numbers = first..first + frames;
                let (positions, mask) = (&self.positions, config.causal_mask);
                let lengths = SequenceLengths {
                    context_tokens: config.context_tokens,
                    frames,
                    tokens_per_frame: tokens,
                };
                SequenceTables {
                    rows: positions.rows(config, numbers.clone(), &device),
                    rotary: positions.rotary_of_sequence(config, numbers, &device),
                    mask: mask.hidden(lengths, config.num_frames, &device),
                }
            });
        let video = apply(&self.x_embedder, x); // [batch, frames, tokens, width]
        let mut context = apply(&self.c_embedder, context);
        let mut video = add_rows(video, rows);
        let conditioning = silu(self.t_embedder.forward(timesteps)); // [batch, frames, width]
        let conditioning = checkpointing.share(conditioning);
        for block in &self.blocks {
            let (mask, rotary) = (mask.clone(), rotary.clone());
            let input = ((context, video), conditioning.clone());
            (context, video) = checkpointing.checkpoint(
                block,
                input,
                move |block, ((context, video), conditioning)| {
                    let tokens = Tokens { context, video };
                    let tokens =
                        block.forward(tokens, conditioning, mask.as_ref(), rotary.as_ref());
                    (tokens.context, tokens.video)
                },
            );
        }
        self.output(video)
    }

    /// The output of the network, from the video tokens after the last block.
    ///
    /// # Shapes
    /// - `video`: `[batch, frames, tokens, width]`
    /// - output: `[batch, frames, tokens, channels]`
    pub(crate) fn output(&self, video: Tensor<4>) -> Tensor<4> {
        apply(&self.final_layer, layer_norm(video, 1e-6)).cast(FloatDType::F32)
    }

    /// The precision that the network computes in.
    pub(crate) fn dtype(&self) -> DType {
        dtype(&self.final_layer)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{ModuleVisitor, Param};
    use burn::optim::{GradientsAccumulator, GradientsParams};

    use super::*;
    use crate::testing::{Inputs, frame_rotary, largest_differences, random_network};
    use crate::{CausalMask, MergeMode};

    #[test]
    fn frame_rotary_outputs_do_not_depend_on_the_absolute_frame() {
        let dit = random_network(&frame_rotary());
        let inputs = Inputs::new(dit.config(), 7);
        let from = |first| {
            let Inputs {
                x,
                timesteps,
                context,
            } = inputs.clone();
            let mut checkpointing = ActivationCheckpointing::new(false);
            dit.forward_from(first, &mut checkpointing, x, timesteps, context)
        };
        for first in [1, 50, 123_456] {
            for difference in largest_differences(from(first), from(0)) {
                assert!(difference < 1e-5, "from frame {first}: {difference:e}");
            }
        }
    }

    #[test]
    fn a_frame_reaches_one_window_a_block_and_no_earlier_frame() {
        let dit = random_network(&frame_rotary());
        let inputs = Inputs::new(dit.config(), 9);
        let run = |x| dit.forward(x, inputs.timesteps.clone(), inputs.context.clone());
        let other = inputs.x.clone().slice([0..2, 0..1]);
        let changed = inputs.x.clone().slice_assign([0..2, 2..3], other);
        let differences = largest_differences(run(changed), run(inputs.x.clone()));
        for (frame, difference) in differences.into_iter().enumerate() {
            // Two blocks with a window of three reach at most four frames ahead.
            let reached = (2..=6).contains(&frame);
            assert_eq!(difference > 1e-6, reached, "frame {frame}: {difference:e}");
        }
    }

    #[test]
    fn frame_rotary_asks_for_what_it_needs() {
        let refused = |change: fn(&mut DitConfig)| {
            let mut config = frame_rotary();
            change(&mut config);
            config.validate().expect_err("a refusal").to_string()
        };
        let mask = refused(|config| config.causal_mask = CausalMask::VideoTemporalCausal);
        assert!(mask.contains("causal_mask = \"temporal_causal\""), "{mask}");
        let heads = refused(|config| config.hidden_size = 36);
        assert!(heads.contains("multiple of 4"), "{heads}");
    }

    struct Values<'a>(&'a GradientsParams, Vec<f32>);

    impl ModuleVisitor for Values<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).expect("a gradient");
            self.1.extend(gradient.into_data().iter::<f32>());
        }
    }

    fn values(network: &Dit, gradients: &GradientsParams) -> Vec<f32> {
        let mut values = Values(gradients, Vec::new());
        network.visit(&mut values);
        values.1
    }

    fn relative_error(actual: &[f32], expected: &[f32]) -> f32 {
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let mut difference = actual.iter().zip(expected).map(|(a, b)| a - b);
        norm(&mut difference) / norm(&mut expected.iter().copied())
    }

    fn check(config: &DitConfig) {
        let device = Device::flex().autodiff();
        let network = random_network(config).train();
        let Inputs {
            x,
            timesteps,
            context,
        } = Inputs::new(config, config.num_frames);
        let x = Tensor::from_inner(x);
        let timesteps = Tensor::from_data(timesteps.into_data(), &device);
        let run = |recompute| {
            // A leaf, like a trainable table of contexts.
            let context = Tensor::from_inner(context.clone()).require_grad();
            let mut checkpointing = ActivationCheckpointing::new(recompute);
            let prediction = network.forward_checkpointed(
                &mut checkpointing,
                x.clone(),
                timesteps.clone(),
                context.clone(),
            );
            let loss = prediction.square().mean();
            let mut accumulator = GradientsAccumulator::new();
            let mut of_context = None;
            checkpointing.backward(&loss, |mut gradients| {
                of_context = of_context.take().or(context.grad_remove(&mut gradients));
                let gradients = GradientsParams::from_grads(gradients, &network);
                accumulator.accumulate(&network, gradients);
            });
            let of_context = of_context.expect("the context matters").into_data();
            let of_context: Vec<f32> = of_context.iter::<f32>().collect();
            let gradients = values(&network, &accumulator.grads());
            (loss.into_scalar::<f32>(), gradients, of_context)
        };
        let (loss, gradients, of_context) = run(false);
        let (loss_again, gradients_again, of_context_again) = run(true);
        assert!((loss - loss_again).abs() < 1e-6 * loss, "{config:?}");
        let error = relative_error(&gradients_again, &gradients);
        assert!(error < 1e-5, "{error} for {config:?}");
        let error = relative_error(&of_context_again, &of_context);
        assert!(error < 1e-5, "{error} over the context for {config:?}");
    }

    #[test]
    fn checkpointed_gradients_are_the_same() {
        check(&frame_rotary());
        for (merge_mode, causal_mask) in [
            (MergeMode::ShareNorm, CausalMask::VideoTemporalCausal),
            (MergeMode::SeparateNorm, CausalMask::TemporalCausal),
            (MergeMode::ShareNormShiftFirstT, CausalMask::None),
            (MergeMode::Reproduce, CausalMask::None),
        ] {
            check(&DitConfig {
                positions: PositionEmbedding::SinCos,
                merge_mode,
                causal_mask,
                ..frame_rotary()
            });
        }
    }
}
