//! Sampled latents.

use std::io;
use std::path::Path;

use ar_diffusion::SampledFrame;
use ar_files::write_atomically;
use ar_weights::Fault;
use burn::tensor::Tensor;
use safetensors::{Dtype, serialize, tensor::TensorView};

use crate::PipelineError;

/// A frame's position in the video and its latents, `[batch, 1, tokens, channels]`, flattened.
/// Waits for the device.
pub(crate) fn values(frame: &SampledFrame) -> (usize, Vec<f32>) {
    (frame.index, to_values(frame.latent.clone()))
}

/// Flattened latents.
pub(crate) fn to_values(latents: Tensor<4>) -> Vec<f32> {
    let data = latents.into_data();
    data.try_into_vec().expect("latents are 32-bit floats")
}

/// Fails if the latents of a frame are broken ([`Fault`]), and cannot be decoded.
pub(crate) fn check_latents(frame: usize, latents: &[f32]) -> Result<(), PipelineError> {
    match latents.iter().find_map(|&value| Fault::of_value(value)) {
        None => Ok(()),
        Some(fault) => Err(PipelineError::Broken { frame, fault }),
    }
}

/// Writes sampled latents as the tensor `latents`.
///
/// # Shapes
/// - `videos`: `[frames, tokens, channels]` of each video, flattened
pub(crate) fn save_latents(
    path: &Path,
    videos: &[Vec<f32>],
    [frames, tokens, channels]: [usize; 3],
) -> Result<(), PipelineError> {
    let values = videos.iter().flatten();
    let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
    let shape = vec![videos.len(), frames, tokens, channels];
    let view = TensorView::new(Dtype::F32, shape, &bytes).expect("one value for each place");
    serialize([("latents", view)], None)
        .map_err(io::Error::other)
        .and_then(|file| write_atomically(path, &file))
        .map_err(PipelineError::write(path))
}
