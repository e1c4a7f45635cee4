use ar_ops::{
    linear::{apply, dtype, linear},
    position::{timestep_embedding, timestep_frequencies},
};
use burn::module::Module;
use burn::nn::{Initializer, Linear};
use burn::tensor::{Device, Int, Tensor, activation::silu};

use crate::on_device::OnDevice;

/// Width of the sinusoidal embedding that the MLP reads.
const FREQUENCIES: usize = 256;

/// Embeds one diffusion timestep per frame: sinusoid, linear, SiLU, linear. Checkpoint keys
/// `t_embedder.mlp.{0,2}`.
#[derive(Module, Debug)]
pub struct TimestepEmbedder {
    mlp_in: Linear,
    mlp_out: Linear,
    #[module(skip)]
    frequencies: OnDevice<(), Tensor<1>>,
}

impl TimestepEmbedder {
    /// An embedder to `width` channels, initialised from N(0, 0.02).
    pub fn new(width: usize, device: &Device) -> Self {
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        Self {
            mlp_in: linear([FREQUENCIES, width], normal.clone(), device),
            mlp_out: linear([width, width], normal, device),
            frequencies: OnDevice::default(),
        }
    }

    /// # Shapes
    /// - `timesteps`: `[batch, frames]`
    /// - output: `[batch, frames, width]`
    pub fn forward(&self, timesteps: Tensor<2, Int>) -> Tensor<3> {
        // In f32, whatever the network's precision: 16 bits would blur neighbouring timesteps.
        let device = timesteps.device();
        let make = || timestep_frequencies(FREQUENCIES, &device);
        let frequencies = self.frequencies.get(&device, (), make);
        let embedding = timestep_embedding(timesteps, frequencies);
        let embedding = embedding.cast(dtype(&self.mlp_in));
        apply(&self.mlp_out, silu(apply(&self.mlp_in, embedding)))
    }
}
