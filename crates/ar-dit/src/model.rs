use ar_ops::{
    linear::{apply, linear},
    norm::layer_norm,
    position::{Rotary, SinCosTable},
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Int, Tensor, activation::silu, assert_shape};

use crate::{Block, DitConfig, DitConfigError, TimestepEmbedder, Tokens};

/// The diffusion transformer over context and video tokens.
///
/// Published checkpoints hold it under `diffusion_model.model.`; their keys equal the field paths
/// except `t_embedder.mlp.{0,2}` (here `t_embedder.mlp_{in,out}`), `adaLN_modulation.1`
/// (`ada_ln_modulation`) and `final_layer.1` (`final_layer`).
#[derive(Module, Debug)]
pub struct Dit {
    x_embedder: Linear,
    c_embedder: Linear,
    t_embedder: TimestepEmbedder,
    blocks: Vec<Block>,
    final_layer: Linear,
    #[module(skip)]
    positions: Positions,
    #[module(skip)]
    config: DitConfig,
}

/// Where a token stands: added to the video tokens, or rotated into all queries and keys.
#[derive(Clone, Debug)]
enum Positions {
    Fixed(SinCosTable),
    Rotary(Rotary),
}

impl DitConfig {
    /// A freshly initialised transformer: Xavier-uniform linear layers; modulation and final layer
    /// zero, so that training starts from the identity and a zero prediction.
    ///
    /// # Errors
    /// If the configuration describes no network.
    pub fn init(&self, device: &Device) -> Result<Dit, DitConfigError> {
        self.validate()?;
        let width = self.hidden_size;
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        let video_tokens = self.num_frames * self.tokens_per_frame;
        Ok(Dit {
            x_embedder: linear([self.in_channels, width], xavier.clone(), device),
            c_embedder: linear([self.context_dim, width], xavier, device),
            t_embedder: TimestepEmbedder::new(width, device),
            blocks: (0..self.depth).map(|_| Block::new(self, device)).collect(),
            final_layer: linear([width, self.in_channels], Initializer::Zeros, device),
            positions: if self.rotary {
                let sequence = self.context_tokens + video_tokens;
                Positions::Rotary(Rotary::new(sequence, width / self.num_heads))
            } else {
                Positions::Fixed(SinCosTable::new(video_tokens, width))
            },
            config: self.clone(),
        })
    }
}

impl Dit {
    /// The configuration that the network was made from.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// Predicts the diffusion target of every frame.
    ///
    /// Positions count from the first frame given: a window that slides over a longer video is
    /// passed as it stands.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, channels]`, at most `num_frames` frames
    /// - `timesteps`: `[batch, frames]`
    /// - `context`: `[batch, context_tokens, context_dim]`
    pub fn forward(
        &self,
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
            frames <= config.num_frames,
            "{frames} frames in a window of {}",
            config.num_frames
        );
        let device = x.device();

        let mut video = apply(&self.x_embedder, x); // [batch, frames, tokens, width]
        let mut rotation = None;
        match &self.positions {
            Positions::Fixed(table) => {
                let table = table.rows(frames * tokens, &device);
                video = video + table.reshape([1, frames, tokens, config.hidden_size]);
            }
            Positions::Rotary(rotary) => {
                let sequence = config.context_tokens + frames * tokens;
                rotation = Some(rotary.at(sequence, &device));
            }
        }
        let mut stream = Tokens {
            context: apply(&self.c_embedder, context),
            video,
        };
        let conditioning = silu(self.t_embedder.forward(timesteps)); // [batch, frames, width]
        let mask = config
            .causal_mask
            .hidden(config.context_tokens, frames, tokens, &device);
        for block in &self.blocks {
            stream = block.forward(
                stream,
                conditioning.clone(),
                mask.clone(),
                rotation.as_ref(),
            );
        }
        apply(&self.final_layer, layer_norm(stream.video, 1e-6))
    }
}
