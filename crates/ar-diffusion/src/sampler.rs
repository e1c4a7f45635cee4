use std::ops::Range;

use ar_schedulers::{
    AdConfig, AdIteration, AdPlan, DdimSchedule, DdimStep, FrameState, PlanError, ScheduleError,
};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::diffusion::per_frame;
use crate::frame_latents::FrameLatents;
use crate::predictor::{ActiveFrames, FullWindow, Prediction, Predictor, PredictorInput};
use crate::{CausalDenoiser, Context, Denoiser, Diffusion, NoiseSource, Parameterization};

/// How to sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplerConfig {
    /// DDIM steps that every frame takes, S.
    pub steps: usize,
    /// Step difference between neighbouring frames, s: 0 denoises all frames together, `steps` denoises one after
    /// another.
    pub ar_step: usize,
    /// Scale of the fresh noise in each step: 0 is deterministic (DDIM), 1 is ancestral (DDPM).
    pub eta: f64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            steps: 50,
            ar_step: 5,
            eta: 0.0,
        }
    }
}

/// A sampler that cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// The steps do not fit the noise schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Steps, step difference, frames and window do not fit each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl SamplerError {
    /// The fields of the configuration that caused the error.
    pub fn keys(&self) -> &[&'static str] {
        match self {
            Self::Schedule(error) => error.keys(),
            Self::Plan(error) => error.keys(),
        }
    }
}

/// The asynchronous sampler (paper section 3.4): DDIM in which neighbouring frames are `ar_step` steps apart, as
/// planned by an [`AdPlan`].
#[derive(Clone, Debug)]
pub struct Sampler {
    parameterization: Parameterization,
    ddim: DdimSchedule,
    plan: AdPlan,
}

impl Diffusion {
    /// A sampler for videos of `frames` frames, by a network with a window of `window` frames.
    ///
    /// # Errors
    /// If steps, step difference, frames and window do not fit each other.
    pub fn sampler(
        &self,
        config: SamplerConfig,
        frames: usize,
        window: usize,
    ) -> Result<Sampler, SamplerError> {
        Sampler::new(self, config, frames, window)
    }
}

impl Sampler {
    /// A sampler for videos of `frames` frames, by a network with a window of `window` frames.
    ///
    /// # Errors
    /// If steps, step difference, frames and window do not fit each other.
    pub fn new(
        diffusion: &Diffusion,
        config: SamplerConfig,
        frames: usize,
        window: usize,
    ) -> Result<Self, SamplerError> {
        let SamplerConfig {
            steps,
            ar_step,
            eta,
        } = config;
        Ok(Self {
            parameterization: diffusion.parameterization(),
            ddim: DdimSchedule::new(diffusion.schedule(), steps, eta)?,
            plan: AdPlan::new(AdConfig {
                steps,
                ar_step,
                frames,
                window,
            })?,
        })
    }

    /// The plan that the sampler follows.
    pub fn plan(&self) -> &AdPlan {
        &self.plan
    }

    /// Samples one batch of videos lazily: the iterator performs one iteration of the plan at a time, and returns every
    /// frame as soon as it is finished, in order. It keeps only the frames of one window, and every iteration evaluates
    /// all of them.
    ///
    /// # Panics
    /// If the context has a prefix whose frames do not have the noise's shape.
    pub fn run<'a, D: Denoiser + ?Sized, N: NoiseSource + ?Sized>(
        &'a self,
        denoiser: &'a D,
        noise: &'a N,
        context: Context,
    ) -> Sampling<'a, N> {
        let frames = context.prefix_frames() + self.plan.config().frames;
        let [batch, _, tokens, channels] = noise.start(context.prefix_frames()).dims();
        let window = [
            batch,
            self.plan.config().window.min(frames),
            tokens,
            channels,
        ];
        let iterations = self.plan.iterations();
        let predictor = FullWindow::new(denoiser, &context, window, iterations);
        Sampling::new(self, predictor, noise, context)
    }

    /// Like [`Sampler::run`], with the same result up to rounding, but an iteration evaluates only active frames, and
    /// each finished frame is evaluated once more to fill the cache.
    ///
    /// That makes `steps + 1` evaluations per frame, and one less for the last. If the network's positions count from
    /// the start of the window, finished frames are evaluated once in every window that they are in. If it is
    /// [unbounded](CausalDenoiser::is_unbounded), the result is the same as from [`Sampler::run`] with a window of all
    /// frames, and the plan's window only decides which step differences are accepted.
    ///
    /// # Panics
    /// As [`Sampler::run`].
    pub fn run_active_frames<'a, D: CausalDenoiser + 'a, N: NoiseSource + ?Sized>(
        &'a self,
        denoiser: D,
        noise: &'a N,
        context: Context,
    ) -> Sampling<'a, N>
    where
        D::Cache: 'a,
    {
        let window = self.plan.config().window;
        let steps = (0..self.ddim.len()).map(|step| FrameState::Active { step });
        let states = steps.chain([FrameState::Finished]);
        let timesteps: Vec<usize> = states.map(|state| self.ddim.fed_timestep(state)).collect();
        let predictor = ActiveFrames::new(denoiser, &context, &timesteps, window);
        Sampling::new(self, predictor, noise, context)
    }

    /// The DDIM update (Song et al., 2021, eq. 12) of active frames, each with its own step, from timestep t to the
    /// next smaller one, s, with `α = ᾱ[t]` and `α' = ᾱ[s]`:
    ///
    /// ```text
    /// eps = (x - √α x0) / √(1 - α)
    /// x'  = √α' x0 + √(1 - α' - σ²) eps + σ noise
    /// σ   = η √((1 - α') / (1 - α)) √(1 - α / α')
    /// ```
    ///
    /// where `x0`, the predicted clean latent, is linear in `x` and the network's output
    /// ([`Parameterization::x0_scales`]), so `x'` is linear in both as well ([`Sampler::scales`]).
    ///
    /// # Shapes
    /// - `x`, `output`, the fresh noise and the result: `[batch, frames, tokens, channels]`
    /// - `steps`: one per frame
    fn update(
        &self,
        x: Tensor<4>,
        output: Tensor<4>,
        steps: &[DdimStep],
        fresh_noise: impl FnOnce() -> Tensor<4>,
    ) -> Tensor<4> {
        let scales: Vec<_> = steps.iter().map(|step| self.scales(step)).collect();
        let scale = |i: usize| scales.iter().map(move |scales| scales[i]);
        let next = scale_frames(x, scale(0)) + scale_frames(output, scale(1));
        if steps.iter().all(|step| step.sigma == 0.0) {
            return next;
        }
        next + scale_frames(fresh_noise(), steps.iter().map(|step| step.sigma))
    }

    /// The scales of the latent and of the network's output in a step's update, without noise:
    /// `x' = scales[0] x + scales[1] output`.
    fn scales(&self, step: &DdimStep) -> [f64; 2] {
        let x0 = self.parameterization.x0_scales(step.alpha);
        let x = [step.alpha.powf(-0.5), 0.0];
        [0, 1].map(|i| {
            let eps = (x[i] - x0[i]) * (1.0 / step.alpha - 1.0).powf(-0.5);
            x0[i] * step.alpha_prev.sqrt() + eps * step.direction()
        })
    }
}

/// Multiplies every frame of `[batch, frames, tokens, channels]` by its scale.
fn scale_frames(x: Tensor<4>, scales: impl Iterator<Item = f64>) -> Tensor<4> {
    let scales: Vec<f64> = scales.collect();
    match scales[..] {
        // Frame by frame, tensors of a single number would take as long as the network's smaller layers.
        [scale] => x * scale,
        _ => {
            let shape = [1, scales.len()];
            let scales = per_frame(scales.into_iter(), shape, &x.device());
            x * scales
        }
    }
}

/// A frame that has taken all its steps.
#[derive(Clone, Debug)]
pub struct SampledFrame {
    /// Its place in the video, the prefix included.
    pub index: usize,
    /// Its latent, `[batch, 1, tokens, channels]`.
    pub latent: Tensor<4>,
}

/// What one iteration of the plan did.
#[derive(Clone, Debug)]
pub struct Iteration {
    /// Its number, from 0.
    pub index: usize,
    /// Frames that the network was evaluated on, over batch and guidance.
    pub frame_evaluations: usize,
    /// The frames that the iteration finished, in order.
    pub finished: Vec<SampledFrame>,
}

/// A frame between its first and its last step.
#[derive(Clone, Debug)]
pub struct FrameInProgress {
    /// Its place in the video, the prefix included.
    pub index: usize,
    /// Steps that it has taken.
    pub steps: usize,
    /// Standard deviation of the noise in its latent, √(1 - ᾱ), from 1 down to 0.
    pub noise_level: f64,
    /// Its latent as it is now, `[batch, 1, tokens, channels]`.
    pub latent: Tensor<4>,
}

/// The plan of a whole video: frames are numbered from the first one of the prefix.
#[derive(Clone, Copy)]
struct Timeline<'a> {
    sampler: &'a Sampler,
    prefix: usize,
}

impl Timeline<'_> {
    fn iteration(&self, iteration: usize) -> AdIteration {
        let plan = &self.sampler.plan;
        let active = plan.active(iteration);
        let active = self.prefix + active.start..self.prefix + active.end;
        // The last frames that have started, or the first ones while fewer have started, as in the plan.
        let AdConfig { frames, window, .. } = plan.config();
        let length = window.min(self.prefix + frames);
        let end = active.end.max(length);
        AdIteration {
            iteration,
            window: end - length..end,
            active,
        }
    }

    fn state(&self, iteration: usize, frame: usize) -> FrameState {
        match frame.checked_sub(self.prefix) {
            Some(frame) => self.sampler.plan.state(iteration, frame),
            None => FrameState::Finished,
        }
    }

    /// The steps that the active frames take.
    fn steps(&self, iteration: &AdIteration) -> Vec<usize> {
        let step = |frame| match self.state(iteration.iteration, frame) {
            FrameState::Active { step } => step,
            state => unreachable!("frame {frame} is active, not {state:?}"),
        };
        iteration.active.clone().map(step).collect()
    }

    /// The timesteps that the network gets.
    fn timesteps(&self, iteration: usize, frames: Range<usize>) -> Vec<usize> {
        frames
            .map(|frame| self.sampler.ddim.fed_timestep(self.state(iteration, frame)))
            .collect()
    }
}

/// A sampling run: an iterator over the iterations of the plan.
pub struct Sampling<'a, N: ?Sized> {
    timeline: Timeline<'a>,
    predictor: Box<dyn Predictor + 'a>,
    noise: &'a N,
    context: Context,
    iteration: usize,
    frames: FrameLatents,
}

impl<'a, N: NoiseSource + ?Sized> Sampling<'a, N> {
    fn new(
        sampler: &'a Sampler,
        predictor: impl Predictor + 'a,
        noise: &'a N,
        context: Context,
    ) -> Self {
        context.assert_prefix_fits(noise);
        Self {
            timeline: Timeline {
                sampler,
                prefix: context.prefix_frames(),
            },
            predictor: Box::new(predictor),
            noise,
            context,
            iteration: 0,
            frames: FrameLatents::default(),
        }
    }

    /// The latent of a frame between two iterations, `[batch, 1, tokens, channels]`; None if the frame is not in memory
    /// yet or any more.
    pub fn latent(&self, frame: usize) -> Option<&Tensor<4>> {
        self.frames.get(frame)
    }

    /// The frames that have started but are not finished, in order, between two iterations.
    pub fn in_progress(&self) -> Vec<FrameInProgress> {
        let Some(done) = self.iteration.checked_sub(1) else {
            return Vec::new();
        };
        let Timeline { sampler, prefix } = self.timeline;
        let begun = sampler.plan.active(done);
        let frames = begun.map(|frame| (prefix + frame, sampler.plan.step_index(done, frame)));
        let unfinished = frames.filter(|&(_, steps)| steps < sampler.ddim.len());
        unfinished
            .filter_map(|(index, steps)| {
                Some(FrameInProgress {
                    index,
                    steps,
                    noise_level: (1.0 - sampler.ddim.step(steps - 1).alpha_prev).sqrt(),
                    latent: self.latent(index)?.clone(),
                })
            })
            .collect()
    }

    /// Predicts the active frames with the network.
    fn predict(&mut self, iteration: &AdIteration) -> Prediction {
        let Self { timeline, .. } = *self;
        self.predictor.predict(PredictorInput {
            iteration,
            context: &self.context,
            frames: &self.frames,
            timesteps: &|frames| timeline.timesteps(iteration.iteration, frames),
        })
    }
}

impl<N: NoiseSource + ?Sized> Iterator for Sampling<'_, N> {
    type Item = Iteration;

    fn next(&mut self) -> Option<Iteration> {
        let sampler = self.timeline.sampler;
        let index = self.iteration;
        if index == sampler.plan.iterations() {
            return None;
        }
        self.iteration += 1;

        let iteration = self.timeline.iteration(index);
        let needed = self.predictor.needs(&iteration);
        self.frames.hold(needed, |frame| {
            let prefix = self.context.prefix_frame(frame);
            prefix.unwrap_or_else(|| self.noise.start(frame))
        });
        let x = self.frames.stack(iteration.active.clone());
        let batch = x.dims()[0];
        let prediction = self.predict(&iteration);

        // Only active frames change: waiting ones stay noise, finished ones stay bit for bit.
        let active = iteration.active.clone();
        let steps = self.timeline.steps(&iteration);
        let ddim_steps: Vec<DdimStep> = steps.iter().map(|&k| sampler.ddim.step(k)).collect();
        let updated = sampler.update(x, prediction.output, &ddim_steps, || {
            let noise = active.clone().zip(&steps);
            let noise = noise.map(|(frame, &step)| self.noise.step(frame, step));
            Tensor::cat(noise.collect(), 1)
        });
        let mut finished = Vec::new();
        for (i, (frame, step)) in active.zip(steps).enumerate() {
            let latent = updated.clone().narrow(1, i, 1);
            if step + 1 == sampler.ddim.len() {
                finished.push(SampledFrame {
                    index: frame,
                    latent: latent.clone(),
                });
            }
            self.frames.set(frame, latent);
        }
        Some(Iteration {
            index,
            frame_evaluations: batch * prediction.frames * self.context.evaluations(),
            finished,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.timeline.sampler.plan.iterations() - self.iteration;
        (left, Some(left))
    }
}

impl<N: NoiseSource + ?Sized> ExactSizeIterator for Sampling<'_, N> {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use burn::tensor::{Device, Int};

    use super::*;
    use crate::{DiffusionConfig, HostNoise};

    const FRAMES: usize = 16;
    const STEPS: usize = 50;
    const WAITING: usize = 999;

    /// A frame is predicted from itself and the mean of those before it.
    #[derive(Default)]
    struct MeanOfThePast {
        unbounded: bool,
        waiting_evaluated: Cell<bool>,
    }

    /// The sum of the cached frames, and their number.
    #[derive(Default)]
    struct Sum(Option<Tensor<4>>, usize);

    impl CausalDenoiser for &MeanOfThePast {
        type Cache = Sum;

        fn is_unbounded(&self) -> bool {
            self.unbounded
        }

        fn cache(&self, _: Tensor<3>, _: &[usize]) -> Sum {
            Sum::default()
        }

        fn clear(&self, cache: &mut Sum) {
            *cache = Sum::default();
        }

        fn predict(
            &self,
            x: Tensor<4>,
            timesteps: &[usize],
            finished: usize,
            cache: &mut Sum,
        ) -> Tensor<4> {
            let waiting = timesteps.contains(&WAITING);
            self.waiting_evaluated
                .set(self.waiting_evaluated.get() || waiting);
            let mut past = Sum(cache.0.clone(), cache.1);
            let outputs = x.split(1, 1).into_iter().enumerate().map(|(i, frame)| {
                let mean = match &past.0 {
                    Some(sum) => sum.clone() / past.1 as f32,
                    None => frame.zeros_like(),
                };
                let sum = past.0.take();
                past.0 = Some(sum.map_or(frame.clone(), |sum| sum + frame.clone()));
                past.1 += 1;
                if i + 1 == finished {
                    *cache = Sum(past.0.clone(), past.1);
                }
                frame * 0.5 + mean * 0.3
            });
            Tensor::cat(outputs.collect(), 1)
        }
    }

    fn sampler(ar_step: usize, frames: usize, window: usize) -> Sampler {
        let config = SamplerConfig {
            steps: STEPS,
            ar_step,
            eta: 0.0,
        };
        let diffusion = DiffusionConfig::default().init().expect("the default");
        diffusion.sampler(config, frames, window).expect("a plan")
    }

    fn noise() -> HostNoise {
        HostNoise::new(1, [1, 1, 2], &Device::flex())
    }

    fn context() -> Context {
        Context::unguided(Tensor::zeros([1, 1, 1], &Device::flex()))
    }

    fn latents(run: Sampling<'_, HostNoise>) -> Tensor<4> {
        let finished = run.flat_map(|iteration| iteration.finished);
        Tensor::cat(finished.map(|frame| frame.latent).collect(), 1)
    }

    #[test]
    fn a_frame_is_evaluated_once_a_step_and_once_more() {
        for ar_step in 0..=STEPS {
            let network = MeanOfThePast::default();
            let (sampler, noise) = (sampler(ar_step, FRAMES, FRAMES), noise());
            let run = sampler.run_active_frames(&network, &noise, context());
            let evaluations: usize = run.map(|iteration| iteration.frame_evaluations).sum();
            // No other frame reads the frames that finish last.
            let finish_last = if ar_step == 0 { FRAMES } else { 1 };
            assert_eq!(evaluations, FRAMES * (STEPS + 1) - finish_last);
            // The network gets another timestep for the first step than for waiting frames.
            assert!(!network.waiting_evaluated.get());
        }
    }

    #[test]
    fn both_samplers_agree_over_windows_that_slide() {
        for (ar_step, window) in [(0, FRAMES), (1, FRAMES), (7, 8), (10, 5), (STEPS, 3)] {
            let network = MeanOfThePast::default();
            let (sampler, noise) = (sampler(ar_step, FRAMES, window), noise());
            let whole = |x, _: Tensor<2, Int>, _: Tensor<3>| {
                (&network).predict(x, &[], 0, &mut Sum::default())
            };
            let expected = latents(sampler.run(&whole, &noise, context()));
            let actual = latents(sampler.run_active_frames(&network, &noise, context()));
            let difference: f32 = (actual - expected).abs().max().into_scalar();
            assert!(difference < 1e-5, "s = {ar_step}: {difference:e}");
        }
    }

    #[test]
    fn frames_in_progress_are_the_noisier_the_later() {
        let network = MeanOfThePast::default();
        let (sampler, noise) = (sampler(10, FRAMES, FRAMES), noise());
        let context = context().with_prefix(Tensor::ones([1, 2, 1, 2], &Device::flex()));
        let mut run = sampler.run_active_frames(&network, &noise, context);
        assert!(run.in_progress().is_empty());
        let mut finished = 2;
        while let Some(iteration) = run.next() {
            finished += iteration.finished.len();
            let frames = run.in_progress();
            let expected = (0..).map(|i| finished + i).zip(&frames);
            for (index, frame) in expected {
                assert_eq!(frame.index, index);
                // Step k of frame i is iteration 10 i + k.
                let steps = iteration.index + 1 - 10 * (index - 2);
                assert_eq!(frame.steps, steps);
                let alpha = sampler.ddim.step(steps).alpha;
                assert!((frame.noise_level - (1.0 - alpha).sqrt()).abs() < 1e-12);
            }
            assert!(frames.is_sorted_by(|a, b| a.noise_level < b.noise_level));
        }
        assert_eq!(finished, FRAMES + 2);
        assert!(run.in_progress().is_empty());
    }

    #[test]
    fn a_video_without_an_end_holds_the_frames_at_work() {
        let network = MeanOfThePast {
            unbounded: true,
            ..MeanOfThePast::default()
        };
        let (sampler, noise) = (sampler(20, 400, 4), noise());
        let prefix = Tensor::ones([1, 9, 1, 2], &Device::flex());
        let context = context().with_prefix(prefix);
        let mut run = sampler.run_active_frames(&network, &noise, context);
        let mut frames = Vec::new();
        while let Some(iteration) = run.next() {
            frames.extend(iteration.finished.iter().map(|frame| frame.index));
            // ceil(50 / 20) are active, and one has just finished.
            let held = run.frames.len();
            assert!(iteration.index == 0 || held <= 4, "{held} frames");
        }
        assert_eq!(frames, (9..409).collect::<Vec<_>>());
    }
}
