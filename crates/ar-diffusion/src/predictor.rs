//! Prediction of the active frames in an iteration of the sampler, by evaluating the whole window, or only the active
//! frames against a cache; with classifier-free guidance.

use std::ops::Range;

use ar_schedulers::AdIteration;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::frame_latents::FrameLatents;
use crate::replay::{ReplayedWindow, records};
use crate::{CausalDenoiser, Context, Denoiser};

/// What an iteration's prediction is made from.
pub(crate) struct PredictorInput<'a> {
    /// The iteration, in frames of the whole video.
    pub iteration: &'a AdIteration,
    pub context: &'a Context,
    pub frames: &'a FrameLatents,
    /// The timesteps that the network gets for frames.
    pub timesteps: &'a dyn Fn(Range<usize>) -> Vec<usize>,
}

/// A prediction of the active frames.
pub(crate) struct Prediction {
    /// `[batch, active frames, tokens, channels]`
    pub output: Tensor<4>,
    /// How many frames went through the network, for each sample, without guidance.
    pub frames: usize,
}

/// A way to predict the active frames.
pub(crate) trait Predictor {
    /// The frames whose latents an iteration needs, active ones included.
    fn needs(&self, iteration: &AdIteration) -> Range<usize>;

    fn predict(&mut self, input: PredictorInput<'_>) -> Prediction;
}

/// Evaluates all frames of the window, finished, active and waiting, in every iteration.
pub(crate) struct FullWindow<'a, D: ?Sized> {
    denoiser: &'a D,
    /// None if evaluations are not recorded.
    replayed: Option<ReplayedWindow<'a>>,
}

/// Number of iterations from which a recording pays off, since it takes four evaluations.
const RECORDED_FROM: usize = 16;

impl<'a, D: Denoiser + ?Sized> FullWindow<'a, D> {
    /// For `iterations` iterations.
    ///
    /// # Shapes
    /// - `frames`: of the window, `[batch, frames, tokens, channels]`, without guidance
    pub(crate) fn new(
        denoiser: &'a D,
        context: &Context,
        frames: [usize; 4],
        iterations: usize,
    ) -> Self {
        let rows = context.rows();
        let [_, rest @ ..] = frames;
        let shape = [rows.dims()[0], rest[0], rest[1], rest[2]];
        let pays = iterations >= RECORDED_FROM && denoiser.is_replayable();
        let replayed = (pays && records(&rows.device()))
            .then(|| ReplayedWindow::record(denoiser, shape, rows))
            .flatten();
        Self { denoiser, replayed }
    }
}

impl<D: Denoiser + ?Sized> Predictor for FullWindow<'_, D> {
    fn needs(&self, iteration: &AdIteration) -> Range<usize> {
        iteration.window.clone()
    }

    fn predict(&mut self, input: PredictorInput<'_>) -> Prediction {
        let PredictorInput {
            iteration: AdIteration { window, active, .. },
            context,
            frames,
            timesteps,
        } = input;
        let x = frames.stack(window.clone());
        let timesteps = timesteps(window.clone());
        let output = context.guide(x, |x| match &mut self.replayed {
            Some(replayed) if replayed.fits(x.dims()) => replayed.predict(x, &timesteps),
            _ => {
                let timesteps = of_batch(&timesteps, x.dims()[0], &x.device());
                self.denoiser.predict(x, timesteps, context.rows())
            }
        });
        Prediction {
            output: output.narrow(1, active.start - window.start, active.len()),
            frames: window.len(),
        }
    }
}

/// The timesteps of frames, the same in every sample, as `[batch, frames]`.
fn of_batch(timesteps: &[usize], batch: usize, device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = timesteps.iter().map(|&timestep| timestep as i64).collect();
    let shape = [1, values.len()];
    Tensor::<2, Int>::from_data(TensorData::new(values, shape), device)
        .expand([batch, timesteps.len()])
}

/// Evaluates only active frames, against the cache of finished ones. A frame that has finished is
/// evaluated once more, together with the active frames of the next iteration, and is cached from
/// then on.
pub(crate) struct ActiveFrames<D: CausalDenoiser> {
    denoiser: D,
    cache: D::Cache,
    /// The first frame that the cache has not seen.
    next: usize,
    /// First frame of the window that the cache was made for.
    window_start: usize,
    /// Most finished frames that are evaluated together.
    most_finished: usize,
}

impl<D: CausalDenoiser> ActiveFrames<D> {
    /// # Shapes
    /// - `timesteps`: every timestep that active and finished frames will have
    pub(crate) fn new(denoiser: D, context: &Context, timesteps: &[usize], window: usize) -> Self {
        Self {
            cache: denoiser.cache(context.rows(), timesteps),
            denoiser,
            next: 0,
            window_start: 0,
            most_finished: window,
        }
    }

    /// Evaluates the frames `next..end`; the frames before `finished` are finished.
    fn advance(&mut self, finished: usize, end: usize, input: &PredictorInput<'_>) -> Prediction {
        let frames = self.next..end;
        let newly_finished = finished - self.next;
        self.next = finished;
        let x = input.frames.stack(frames.clone());
        let timesteps = (input.timesteps)(frames.clone());
        let output = input.context.guide(x, |x| {
            self.denoiser
                .predict(x, &timesteps, newly_finished, &mut self.cache)
        });
        Prediction {
            output,
            frames: frames.len(),
        }
    }
}

impl<D: CausalDenoiser> Predictor for ActiveFrames<D> {
    fn needs(&self, AdIteration { window, active, .. }: &AdIteration) -> Range<usize> {
        // When the window moves, positions change and the cache has to be filled again.
        let start = if self.denoiser.is_unbounded() {
            self.next
        } else {
            window.start
        };
        start..active.end
    }

    fn predict(&mut self, input: PredictorInput<'_>) -> Prediction {
        let AdIteration { window, active, .. } = input.iteration;
        if !self.denoiser.is_unbounded() && self.window_start < window.start {
            self.denoiser.clear(&mut self.cache);
            (self.next, self.window_start) = (window.start, window.start);
        }
        let mut frames = 0;
        // A long prefix is evaluated in pieces.
        while active.start - self.next > self.most_finished {
            let end = self.next + self.most_finished;
            frames += self.advance(end, end, &input).frames;
        }
        let newly_finished = active.start - self.next;
        let prediction = self.advance(active.start, active.end, &input);
        Prediction {
            output: prediction.output.narrow(1, newly_finished, active.len()),
            frames: frames + prediction.frames,
        }
    }
}
