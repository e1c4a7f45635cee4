//! Latents as they come out of sampling.

use ar_diffusion::SampledFrame;
use burn::tensor::Tensor;

use crate::PipelineError;

/// A frame's place in the video and its latents, `[batch, 1, tokens, channels]`, flat. It waits for
/// the device.
pub(crate) fn values(frame: &SampledFrame) -> (usize, Vec<f32>) {
    (frame.index, to_values(frame.latent.clone()))
}

/// Latents, flat.
pub(crate) fn to_values(latents: Tensor<4>) -> Vec<f32> {
    let data = latents.into_data();
    data.try_into_vec().expect("latents are 32-bit floats")
}

/// Fails if the latents of a frame are no numbers, which decode to anything.
pub(crate) fn check_finite(frame: usize, latents: &[f32]) -> Result<(), PipelineError> {
    if latents.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(PipelineError::NotFinite { frame })
}
