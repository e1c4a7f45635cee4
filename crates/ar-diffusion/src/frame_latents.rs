//! The latents of the frames that a sampler works on.

use std::collections::VecDeque;
use std::ops::Range;

use burn::tensor::Tensor;

/// The latents of neighbouring frames, `[batch, 1, tokens, channels]` each.
#[derive(Debug, Default)]
pub(crate) struct FrameLatents {
    first: usize,
    latents: VecDeque<Tensor<4>>,
}

impl FrameLatents {
    /// Drops the frames before `frames`, and starts those in `frames` that are not held yet.
    pub(crate) fn hold(&mut self, frames: Range<usize>, start: impl Fn(usize) -> Tensor<4>) {
        while self.first < frames.start {
            self.latents.pop_front();
            self.first += 1;
        }
        while self.first + self.latents.len() < frames.end {
            let frame = self.first + self.latents.len();
            self.latents.push_back(start(frame));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.latents.len()
    }

    pub(crate) fn get(&self, frame: usize) -> Option<&Tensor<4>> {
        self.latents.get(frame.checked_sub(self.first)?)
    }

    /// `[batch, frames, tokens, channels]`
    pub(crate) fn stack(&self, frames: Range<usize>) -> Tensor<4> {
        let held = frames.start - self.first..frames.end - self.first;
        let mut held: Vec<_> = self.latents.range(held).cloned().collect();
        match held.len() {
            1 => held.remove(0),
            _ => Tensor::cat(held, 1),
        }
    }

    pub(crate) fn set(&mut self, frame: usize, latent: Tensor<4>) {
        self.latents[frame - self.first] = latent;
    }
}
