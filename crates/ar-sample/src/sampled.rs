//! Latents as they come out of sampling.

use anyhow::ensure;
use ar_diffusion::SampledFrame;
use burn::tensor::Tensor;

/// A frame's place in the video and the latents of it, `[batch, 1, tokens, channels]`, flat.
pub fn values(frame: &SampledFrame) -> (usize, Vec<f32>) {
    (frame.index, to_values(frame.latent.clone()))
}

/// Latents, flat.
pub fn to_values(latents: Tensor<4>) -> Vec<f32> {
    let data = latents.into_data();
    data.try_into_vec().expect("latents are 32-bit floats")
}

/// Fails if the latents of a frame are no numbers, which decode to anything.
pub fn check_finite(frame: usize, latents: &[f32]) -> anyhow::Result<()> {
    ensure!(
        latents.iter().all(|value| value.is_finite()),
        "frame {frame} came out of sampling as NaN or infinity; a lower --guidance or --eta may \
         help, or the model is broken"
    );
    Ok(())
}
