use std::collections::VecDeque;

use ar_schedulers::{
    AdConfig, AdPlan, DdimSchedule, DdimStep, FrameState, PlanError, ScheduleError,
};
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{Context, Denoiser, Diffusion, NoiseSource, Parameterization, diffusion::per_frame};

/// How to sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplerConfig {
    /// DDIM steps that every frame takes, S.
    pub steps: usize,
    /// Step difference between neighbouring frames, s: 0 denoises all frames together, `steps`
    /// one after another.
    pub ar_step: usize,
    /// Scale of the fresh noise of a step: 0 is deterministic (DDIM), 1 ancestral (DDPM).
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
pub enum SamplerError {
    /// The steps do not fit the noise schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Steps, step difference, frames and window do not fit each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The asynchronous sampler (paper section 3.4): DDIM in which the steps of neighbouring frames
/// are `ar_step` apart, driven by an [`AdPlan`].
#[derive(Clone, Debug)]
pub struct Sampler {
    parameterization: Parameterization,
    ddim: DdimSchedule,
    plan: AdPlan,
}

impl Sampler {
    /// A sampler of videos of `frames` frames for a network with a window of `window` frames.
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

    /// Samples one batch of videos lazily: the returned iterator performs one iteration of the
    /// plan at a time and hands out every frame when it is finished, in order. It holds the frames
    /// of one window only.
    pub fn run<'a, D: Denoiser + ?Sized, N: NoiseSource + ?Sized>(
        &'a self,
        denoiser: &'a D,
        noise: &'a N,
        context: Context,
    ) -> Sampling<'a, D, N> {
        Sampling {
            sampler: self,
            denoiser,
            noise,
            context,
            iteration: 0,
            first: 0,
            frames: VecDeque::new(),
        }
    }

    /// One DDIM update of `frames` whose iteration performs `steps`.
    fn update(
        &self,
        x: Tensor<4>,
        output: Tensor<4>,
        steps: &[DdimStep],
        fresh_noise: impl FnOnce() -> Tensor<4>,
    ) -> Tensor<4> {
        let device = x.device();
        let coefficient =
            |f: fn(&DdimStep) -> f64| per_frame(steps.iter().map(f), [1, steps.len()], &device);
        let x0 = self
            .parameterization
            .x0(output, x.clone(), coefficient(|step| step.alpha));
        let eps = (x * coefficient(|step| step.alpha.powf(-0.5)) - x0.clone())
            * coefficient(|step| (1.0 / step.alpha - 1.0).powf(-0.5));
        let next = x0 * coefficient(|step| step.alpha_prev.sqrt())
            + eps * coefficient(DdimStep::direction);
        if steps.iter().all(|step| step.sigma == 0.0) {
            return next;
        }
        next + fresh_noise() * coefficient(|step| step.sigma)
    }
}

/// A frame that has taken all its steps.
#[derive(Clone, Debug)]
pub struct SampledFrame {
    /// Its place in the video.
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
    /// The frames that it finished, in order.
    pub finished: Vec<SampledFrame>,
}

/// A sampling run: an iterator over the iterations of the plan.
pub struct Sampling<'a, D: ?Sized, N: ?Sized> {
    sampler: &'a Sampler,
    denoiser: &'a D,
    noise: &'a N,
    context: Context,
    iteration: usize,
    /// Place in the video of the first frame held.
    first: usize,
    /// The latents of the current window, `[batch, 1, tokens, channels]` each.
    frames: VecDeque<Tensor<4>>,
}

impl<D: Denoiser + ?Sized, N: NoiseSource + ?Sized> Iterator for Sampling<'_, D, N> {
    type Item = Iteration;

    fn next(&mut self) -> Option<Iteration> {
        let Sampler { ddim, plan, .. } = self.sampler;
        let index = self.iteration;
        if index == plan.iterations() {
            return None;
        }
        self.iteration += 1;

        let window = plan.window(index);
        while self.first < window.start {
            self.frames.pop_front();
            self.first += 1;
        }
        while self.first + self.frames.len() < window.end {
            let frame = self.first + self.frames.len();
            self.frames.push_back(self.noise.start(frame));
        }

        let x = Tensor::cat(self.frames.iter().cloned().collect(), 1);
        let [batch, length, ..] = x.dims();
        let timesteps: Vec<i64> = window
            .clone()
            .map(|frame| ddim.fed_timestep(plan.state(index, frame)) as i64)
            .collect();
        let timesteps =
            Tensor::<2, Int>::from_data(TensorData::new(timesteps, [1, length]), &x.device())
                .expand([batch, length]);
        let output = self.context.predict(self.denoiser, x.clone(), timesteps);

        // Only active frames change: waiting ones stay noise, finished ones stay bit for bit.
        let active = plan.active(index);
        let offset = active.start - window.start;
        let steps: Vec<usize> = active
            .clone()
            .map(|frame| match plan.state(index, frame) {
                FrameState::Active { step } => step,
                state => unreachable!("frame {frame} is active, not {state:?}"),
            })
            .collect();
        let ddim_steps: Vec<DdimStep> = steps.iter().map(|&step| ddim.step(step)).collect();
        let updated = self.sampler.update(
            x.narrow(1, offset, active.len()),
            output.narrow(1, offset, active.len()),
            &ddim_steps,
            || {
                let noise = active.clone().zip(&steps);
                Tensor::cat(
                    noise.map(|(f, &step)| self.noise.step(f, step)).collect(),
                    1,
                )
            },
        );
        let mut finished = Vec::new();
        for (i, frame) in active.enumerate() {
            let latent = updated.clone().narrow(1, i, 1);
            if plan.finish_iteration(frame) == index {
                finished.push(SampledFrame {
                    index: frame,
                    latent: latent.clone(),
                });
            }
            self.frames[offset + i] = latent;
        }
        Some(Iteration {
            index,
            frame_evaluations: batch * length * self.context.evaluations(),
            finished,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.sampler.plan.iterations() - self.iteration;
        (left, Some(left))
    }
}

impl<D: Denoiser + ?Sized, N: NoiseSource + ?Sized> ExactSizeIterator for Sampling<'_, D, N> {}
