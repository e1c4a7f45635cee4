use ar_diffusion::{
    CausalDenoiser, Context, NoiseSource, Sampler, SamplerConfig, SamplerError, Sampling,
};
use ar_dit::{CausalDit, DitConfig, KvCache};
use ar_schedulers::PlanError;
use burn::tensor::Tensor;
use serde::Serialize;

use crate::{ModelConfig, ModelError, Transformer};

/// How a transformer is evaluated when videos are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SamplingMethod {
    /// Only active frames, against the KV cache of finished ones: the method for every network that
    /// [is causal](DitConfig::is_causal).
    ActiveFrames,
    /// All frames of the window in every iteration.
    FullWindow,
}

impl SamplingMethod {
    /// The method for a transformer.
    pub fn of(transformer: &DitConfig) -> Self {
        if transformer.is_causal() {
            Self::ActiveFrames
        } else {
            Self::FullWindow
        }
    }
}

impl ModelConfig {
    /// A sampler for `frames` frames, with or without a prefix before them, for
    /// [`Transformer::sample`].
    ///
    /// With positions that count from the start of the window, step differences with which the
    /// window would slide past unfinished frames are refused. Without such positions, all frames
    /// are finished with every step difference except 0.
    ///
    /// # Errors
    /// If the model has no transformer, or steps, step difference, frames and window do not fit
    /// each other.
    pub fn sampler(&self, config: SamplerConfig, frames: usize) -> Result<Sampler, ModelError> {
        let transformer = self.transformer.as_ref().ok_or(ModelError::NoPart {
            part: "transformer",
            hint: "train one with `ar-train diffusion`, or import one",
        })?;
        let diffusion = self.diffusion.init()?;
        let window = plan_window(transformer, config);
        let sampler = diffusion.sampler(config, frames, window);
        Ok(sampler.map_err(|error| {
            if transformer.is_unbounded() {
                advise_step_difference_1(error)
            } else {
                error
            }
        })?)
    }
}

/// The window of the plan: the network's window or, if every frame has its own window in the
/// network, one that is long enough for all frames that are active together.
fn plan_window(
    transformer: &DitConfig,
    SamplerConfig { steps, ar_step, .. }: SamplerConfig,
) -> usize {
    let window = transformer.num_frames;
    if transformer.is_unbounded() && ar_step > 0 {
        window.max(steps.div_ceil(ar_step))
    } else {
        window
    }
}

/// The error, with the advice to use a step difference of 1, for which [`plan_window`] is long
/// enough.
fn advise_step_difference_1(mut error: SamplerError) -> SamplerError {
    if let SamplerError::Plan(PlanError::Unfinished {
        smallest_ar_step, ..
    }) = &mut error
    {
        *smallest_ar_step = 1;
    }
    error
}

impl Transformer {
    /// Samples one batch of videos lazily, by the [`SamplingMethod`] of the network; the sampler
    /// comes from [`ModelConfig::sampler`].
    pub fn sample<'a, N: NoiseSource + ?Sized>(
        &'a self,
        sampler: &'a Sampler,
        noise: &'a N,
        context: Context,
    ) -> Sampling<'a, N> {
        match self.causal() {
            Some(causal) => sampler.run_active_frames(causal, noise, context),
            None => sampler.run(self, noise, context),
        }
    }

    /// The network for evaluation with a KV cache, if it [is causal](DitConfig::is_causal).
    pub fn causal(&self) -> Option<CausalTransformer<'_>> {
        self.dit().causal().map(CausalTransformer)
    }
}

/// A [`Transformer`] that is evaluated with a KV cache.
#[derive(Clone, Copy, Debug)]
pub struct CausalTransformer<'a>(CausalDit<'a>);

impl CausalDenoiser for CausalTransformer<'_> {
    type Cache = KvCache;

    fn is_unbounded(&self) -> bool {
        self.0.is_unbounded()
    }

    fn cache(&self, context: Tensor<3>, timesteps: &[usize]) -> KvCache {
        self.0.cache(context, timesteps)
    }

    fn clear(&self, cache: &mut KvCache) {
        self.0.clear(cache);
    }

    fn predict(
        &self,
        x: Tensor<4>,
        timesteps: &[usize],
        finished: usize,
        cache: &mut KvCache,
    ) -> Tensor<4> {
        self.0.forward(x, timesteps, finished, cache)
    }
}
