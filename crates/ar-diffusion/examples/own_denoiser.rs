//! The asynchronous sampler with your own denoiser: any function from noisy latents, one timestep per frame and context
//! to a prediction of the clean latents.
//!
//! `cargo run -p ar-diffusion --example own_denoiser`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use ar_diffusion::{Context, DiffusionConfig, HostNoise, SamplerConfig};
use burn::tensor::{Device, Int, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();

    // Your network goes here. This one knows a single video, in which every value is 0.5.
    let denoiser = |noisy: Tensor<4>, _timesteps: Tensor<2, Int>, _context: Tensor<3>| {
        Tensor::full(noisy.dims(), 0.5, &noisy.device())
    };

    // 8 frames in a window of 4; each frame starts 5 steps after the one before it.
    let config = SamplerConfig {
        steps: 20,
        ar_step: 5,
        ..SamplerConfig::default()
    };
    let sampler = DiffusionConfig::default().init()?.sampler(config, 8, 4)?;

    let [batch, tokens, channels] = [1, 16, 4];
    let noise = HostNoise::new(42, [batch, tokens, channels], &device);
    let context = Context::unguided(Tensor::zeros([batch, 1, 8], &device));
    for iteration in sampler.run(&denoiser, &noise, context) {
        for frame in iteration.finished {
            let mean: f32 = frame.latent.mean().into_scalar();
            println!(
                "frame {} finished in iteration {}: mean {mean:.3}",
                frame.index, iteration.index
            );
        }
    }
    Ok(())
}
