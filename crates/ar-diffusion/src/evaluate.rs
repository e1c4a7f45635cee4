//! The two ways to evaluate the network in an iteration.

use std::collections::VecDeque;
use std::ops::Range;

use ar_schedulers::AdIteration;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{CausalDenoiser, Context, Denoiser};

/// The latents of neighbouring frames, `[batch, 1, tokens, channels]` each.
#[derive(Debug, Default)]
pub(crate) struct HeldFrames {
    first: usize,
    latents: VecDeque<Tensor<4>>,
}

impl HeldFrames {
    /// Lets go of the frames before `frames`, and starts those of it that are not held yet.
    pub fn hold(&mut self, frames: Range<usize>, start: impl Fn(usize) -> Tensor<4>) {
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
    pub fn len(&self) -> usize {
        self.latents.len()
    }

    pub fn get(&self, frame: usize) -> Option<&Tensor<4>> {
        self.latents.get(frame.checked_sub(self.first)?)
    }

    /// `[batch, frames, tokens, channels]`
    pub fn stack(&self, frames: Range<usize>) -> Tensor<4> {
        let held = frames.start - self.first..frames.end - self.first;
        let mut held: Vec<_> = self.latents.range(held).cloned().collect();
        match held.len() {
            1 => held.remove(0),
            _ => Tensor::cat(held, 1),
        }
    }

    pub fn set(&mut self, frame: usize, latent: Tensor<4>) {
        self.latents[frame - self.first] = latent;
    }
}

/// What the network is evaluated on.
pub(crate) struct Moment<'a> {
    /// The iteration, in frames of the whole video.
    pub iteration: &'a AdIteration,
    pub context: &'a Context,
    pub frames: &'a HeldFrames,
    /// The timesteps that frames are fed.
    pub timesteps: &'a dyn Fn(Range<usize>) -> Vec<usize>,
}

/// A prediction of the active frames.
pub(crate) struct Prediction {
    /// `[batch, active frames, tokens, channels]`
    pub output: Tensor<4>,
    /// How many frames went through the network, for one sample without guidance.
    pub frames: usize,
}

/// A way to evaluate the network.
pub(crate) trait Evaluate {
    /// The frames whose latents an iteration needs, active ones included.
    fn needs(&self, iteration: &AdIteration) -> Range<usize>;

    fn predict(&mut self, moment: Moment<'_>) -> Prediction;
}

/// All frames of the window, finished, active and waiting, in every iteration.
pub(crate) struct FullWindow<'a, D: ?Sized>(pub &'a D);

impl<D: Denoiser + ?Sized> Evaluate for FullWindow<'_, D> {
    fn needs(&self, iteration: &AdIteration) -> Range<usize> {
        iteration.window.clone()
    }

    fn predict(&mut self, moment: Moment<'_>) -> Prediction {
        let Moment {
            iteration: AdIteration { window, active, .. },
            context,
            frames,
            timesteps,
        } = moment;
        let x = frames.stack(window.clone());
        let timesteps = timesteps(window.clone());
        let output = context.guide(x, |x| {
            let timesteps = of_batch(&timesteps, x.dims()[0], &x.device());
            self.0.predict(x, timesteps, context.rows())
        });
        Prediction {
            output: output.narrow(1, active.start - window.start, active.len()),
            frames: window.len(),
        }
    }
}

/// The timesteps of frames, the same in every sample: `[batch, frames]`.
fn of_batch(timesteps: &[usize], batch: usize, device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = timesteps.iter().map(|&timestep| timestep as i64).collect();
    let shape = [1, values.len()];
    Tensor::<2, Int>::from_data(TensorData::new(values, shape), device)
        .expand([batch, timesteps.len()])
}

/// Active frames alone, against what is kept of finished ones. A frame that has finished rides
/// along once, in the next iteration, and is kept from then on.
pub(crate) struct ActiveFrames<D: CausalDenoiser> {
    denoiser: D,
    cache: D::Cache,
    /// The first frame that the cache has not seen.
    next: usize,
    /// First frame of the window that the cache was made in.
    window_start: usize,
    /// Most finished frames that ride along together.
    most: usize,
}

impl<D: CausalDenoiser> ActiveFrames<D> {
    /// # Shapes
    /// - `timesteps`: all that active and finished frames are going to have
    pub fn new(denoiser: D, context: &Context, timesteps: &[usize], window: usize) -> Self {
        Self {
            cache: denoiser.cache(context.rows(), timesteps),
            denoiser,
            next: 0,
            window_start: 0,
            most: window,
        }
    }

    /// Evaluates the frames `next..end`, of which those before `finished` are.
    fn advance(&mut self, finished: usize, end: usize, moment: &Moment<'_>) -> Prediction {
        let frames = self.next..end;
        let riding = finished - self.next;
        self.next = finished;
        let x = moment.frames.stack(frames.clone());
        let timesteps = (moment.timesteps)(frames.clone());
        let output = moment.context.guide(x, |x| {
            self.denoiser
                .predict(x, &timesteps, riding, &mut self.cache)
        });
        Prediction {
            output,
            frames: frames.len(),
        }
    }
}

impl<D: CausalDenoiser> Evaluate for ActiveFrames<D> {
    fn needs(&self, AdIteration { window, active, .. }: &AdIteration) -> Range<usize> {
        // Frames may start at other positions when the window moves, and are kept anew.
        let start = match self.denoiser.is_unbounded() {
            true => self.next,
            false => window.start,
        };
        start..active.end
    }

    fn predict(&mut self, moment: Moment<'_>) -> Prediction {
        let AdIteration { window, active, .. } = moment.iteration;
        if !self.denoiser.is_unbounded() && self.window_start < window.start {
            self.denoiser.clear(&mut self.cache);
            (self.next, self.window_start) = (window.start, window.start);
        }
        let mut frames = 0;
        // A long prefix comes in pieces.
        while active.start - self.next > self.most {
            let end = self.next + self.most;
            frames += self.advance(end, end, &moment).frames;
        }
        let riding = active.start - self.next;
        let prediction = self.advance(active.start, active.end, &moment);
        Prediction {
            output: prediction.output.narrow(1, riding, active.len()),
            frames: frames + prediction.frames,
        }
    }
}
