use std::path::Path;

use ar_data::{to_frames, to_pixels};
use ar_model::VideoModel;
use ar_video::Frame;
use burn::tensor::{Device, Tensor};

use crate::chunks::CHUNK;
use crate::{ModelSource, PipelineError};

/// A model on a device, ready to make videos.
#[derive(Clone, Debug)]
pub struct Pipeline {
    model: VideoModel,
    device: Device,
}

impl Pipeline {
    /// Reads a model directory.
    ///
    /// # Errors
    /// If it is not a model directory, or a file is missing, damaged, or does not fit its
    /// configuration.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, PipelineError> {
        Ok(Self::new(VideoModel::load(path.as_ref(), device)?, device))
    }

    /// The built-in model of the world of bouncing shapes.
    ///
    /// # Errors
    /// Never, unless the program was built with damaged weights.
    pub fn built_in(device: &Device) -> Result<Self, PipelineError> {
        Self::from_source(&ModelSource::BuiltIn, device)
    }

    /// Reads a model from any source.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_source(source: &ModelSource, device: &Device) -> Result<Self, PipelineError> {
        Ok(Self::new(source.load(device)?, device))
    }

    /// A model that is already on `device`.
    pub fn new(model: VideoModel, device: &Device) -> Self {
        Self {
            model,
            device: device.clone(),
        }
    }

    /// The model.
    pub fn model(&self) -> &VideoModel {
        &self.model
    }

    /// The device that the model is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The latents of consecutive frames, encoded a few at a time.
    ///
    /// # Shapes
    /// - `frames`: in the size of the VAE
    /// - output: `[1, frames, tokens, channels]`
    ///
    /// # Errors
    /// If the model has no VAE.
    ///
    /// # Panics
    /// If there are none.
    pub fn encode(&self, frames: &[Frame]) -> Result<Tensor<4>, PipelineError> {
        let latents: Vec<Tensor<4>> = frames
            .chunks(CHUNK)
            .map(|frames| Ok(self.model.encode(to_pixels(&[frames], &self.device))?))
            .collect::<Result<_, PipelineError>>()?;
        Ok(Tensor::cat(latents, 1))
    }

    /// Frames that [`reconstruct`](Self::reconstruct) passes through the VAE together.
    pub fn frames_at_once(&self) -> usize {
        self.model.config().decoded_together().unwrap_or(CHUNK)
    }

    /// Consecutive frames, encoded and decoded by the VAE.
    ///
    /// # Errors
    /// If the model has no VAE.
    pub fn reconstruct(&self, frames: &[Frame]) -> Result<Vec<Frame>, PipelineError> {
        let mut reconstruction = Vec::with_capacity(frames.len());
        for frames in frames.chunks(self.frames_at_once()) {
            let latents = self.model.encode(to_pixels(&[frames], &self.device))?;
            let pixels = self.model.decode(latents)?;
            reconstruction.extend(to_frames(pixels.flatten(0, 1)));
        }
        Ok(reconstruction)
    }
}
