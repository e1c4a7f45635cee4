use std::mem;

use ar_data::to_frames;
use ar_model::VideoModel;
use ar_video::Frame;
use burn::tensor::Tensor;

use crate::PipelineError;

/// Frames that a VAE gets at once if it accepts any number.
pub(crate) const CHUNK: usize = 16;

/// Decodes latents as they arrive; a temporal decoder gets as many at once as it was trained on.
pub(crate) struct ChunkDecoder {
    model: VideoModel,
    /// Frames that are decoded together.
    chunk: usize,
    /// Latents that wait for their chunk, `[batch, 1, tokens, channels]`.
    pending: Vec<Tensor<4>>,
    /// How many of them belong to the prefix, and are decoded only for the sake of the others.
    given: usize,
}

impl ChunkDecoder {
    /// Decodes the frames after a prefix of latents `[batch, frames, tokens, channels]`, `at_once`
    /// frames together unless the decoder is temporal.
    pub(crate) fn new(model: &VideoModel, at_once: usize, prefix: Option<&Tensor<4>>) -> Self {
        let chunk = model.config().decoded_together().unwrap_or(at_once);
        let frames = prefix.map_or(0, |prefix| prefix.dims()[1]);
        let given = frames % chunk;
        let pending = prefix.map_or_else(Vec::new, |latents| {
            let frame = |index| latents.clone().narrow(1, index, 1);
            (frames - given..frames).map(frame).collect()
        });
        Self {
            model: model.clone(),
            chunk,
            pending,
            given,
        }
    }

    /// Adds the next latent of every video, `[batch, 1, tokens, channels]`, and returns the new
    /// frames of each video if a chunk is complete.
    pub(crate) fn push(&mut self, latent: Tensor<4>) -> Result<Vec<Vec<Frame>>, PipelineError> {
        self.pending.push(latent);
        if self.pending.len() < self.chunk {
            return Ok(Vec::new());
        }
        self.flush()
    }

    /// The remaining frames of each video.
    pub(crate) fn flush(&mut self) -> Result<Vec<Vec<Frame>>, PipelineError> {
        let given = mem::take(&mut self.given);
        if self.pending.len() == given {
            self.pending.clear();
            return Ok(Vec::new());
        }
        let latents = Tensor::cat(mem::take(&mut self.pending), 1);
        let length = latents.dims()[1];
        let frames = to_frames(self.model.decode(latents)?.flatten(0, 1));
        let videos = frames.chunks_exact(length);
        Ok(videos.map(|frames| frames[given..].to_vec()).collect())
    }
}
