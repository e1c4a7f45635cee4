//! Shared by the tests of several files.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Int, Tensor};

use crate::{CausalMask, Dit, DitConfig, PositionEmbedding};

const BATCH: usize = 2;

/// A small network with a window of three frames that moves with the frame.
pub(crate) fn frame_rotary() -> DitConfig {
    DitConfig {
        num_frames: 3,
        tokens_per_frame: 4,
        hidden_size: 32,
        depth: 2,
        num_heads: 2,
        causal_mask: CausalMask::TemporalCausal,
        positions: PositionEmbedding::FrameRotary,
        qk_norm: true,
        context_tokens: 2,
        context_dim: 6,
        ..DitConfig::default()
    }
}

/// A network in which every parameter is random, because freshly initialised modulation and final
/// layers are zero.
pub(crate) fn random_network(config: &DitConfig) -> Dit {
    struct Randomize;
    impl ModuleMapper for Randomize {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|x| x.random_like(Distribution::Normal(0.0, 0.3)))
        }
    }
    let device = Device::flex();
    config.init(&device).expect("a network").map(&mut Randomize)
}

/// Random inputs of a network.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub x: Tensor<4>,
    /// One a frame, the same in every sample.
    pub timesteps: Tensor<2, Int>,
    pub context: Tensor<3>,
}

impl Inputs {
    pub(crate) fn new(config: &DitConfig, frames: usize) -> Self {
        let device = Device::flex();
        let normal = Distribution::Normal(0.0, 1.0);
        let x = [BATCH, frames, config.tokens_per_frame, config.in_channels];
        let context = [BATCH, config.context_tokens, config.context_dim];
        Self {
            x: Tensor::random(x, normal, &device),
            timesteps: Tensor::<1, Int>::arange(0..frames as i64, &device)
                .unsqueeze::<2>()
                .expand([BATCH, frames])
                * 30,
            context: Tensor::random(context, normal, &device),
        }
    }
}

/// The largest difference in each frame.
pub(crate) fn largest_differences(a: Tensor<4>, b: Tensor<4>) -> Vec<f32> {
    let difference = (a - b).abs();
    (0..difference.dims()[1])
        .map(|frame| difference.clone().narrow(1, frame, 1).max().into_scalar())
        .collect()
}
