//! A video that shows how the frames of a video are denoised.

use ar_data::to_frames;
use ar_diffusion::{NoiseSource, Sampling};
use ar_model::VideoModel;
use ar_video::{Frame, Tiles, VideoWriter};
use burn::tensor::Tensor;

use crate::output::DENOISING_GAP;
use crate::{PipelineError, VideoTarget};

/// A picture after every iteration: all frames side by side, each at its noise level.
pub(crate) struct Denoising<'a> {
    model: &'a VideoModel,
    writer: VideoWriter,
    /// `[1, 1, tokens, channels]` of each frame.
    latents: Vec<Tensor<4>>,
}

impl<'a> Denoising<'a> {
    /// Starts with the frames before the first iteration: `prefix`, if there is one, and noise.
    pub(crate) fn start(
        target: &VideoTarget,
        model: &'a VideoModel,
        prefix: Option<&Tensor<4>>,
        noise: &dyn NoiseSource,
        frames: usize,
    ) -> Result<Self, PipelineError> {
        let given = prefix.map_or(0, |prefix| prefix.dims()[1]);
        let latent = |frame| match prefix {
            Some(prefix) if frame < given => prefix.clone().narrow(1, frame, 1),
            _ => noise.start(frame),
        };
        let mut denoising = Self {
            model,
            writer: target.create(&target.destination)?,
            latents: (0..frames).map(latent).collect(),
        };
        denoising.write()?;
        Ok(denoising)
    }

    /// Adds a picture of the current frames.
    pub(crate) fn add<N: NoiseSource + ?Sized>(
        &mut self,
        run: &Sampling<'_, N>,
    ) -> Result<(), PipelineError> {
        for (frame, latent) in self.latents.iter_mut().enumerate() {
            if let Some(held) = run.latent(frame) {
                *latent = held.clone();
            }
        }
        self.write()
    }

    /// Completes the file.
    pub(crate) fn finish(self) -> Result<(), PipelineError> {
        Ok(self.writer.finish()?)
    }

    fn write(&mut self) -> Result<(), PipelineError> {
        let pixels = self.model.decode(Tensor::cat(self.latents.clone(), 1))?;
        let frames = to_frames(pixels.flatten(0, 1));
        let frames: Vec<&Frame> = frames.iter().collect();
        let tiles = Tiles::in_columns(frames.len()).with_white_gap(DENOISING_GAP);
        Ok(self.writer.write(&tiles.picture(&frames))?)
    }
}
