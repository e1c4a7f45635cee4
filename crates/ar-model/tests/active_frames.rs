//! Compares sampling by active frames with sampling by full windows, for random networks and plans.
//! Both give the same numbers except for rounding.

use std::collections::HashSet;

use ar_diffusion::{
    Context, Diffusion, DiffusionConfig, HostNoise, Sampler, SamplerConfig, Sampling,
};
use ar_dit::{CausalMask, DitConfig, MergeMode, PositionEmbedding};
use ar_model::{ConditioningConfig, ModelConfig, Transformer};
use ar_noise::{FrameNoise, NoiseStream};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

const TOKENS: usize = 3;
const CHANNELS: usize = 4;
const CONTEXT: [usize; 2] = [2, 6];
/// Rounding of a few dozen forward passes, each of which reads what the previous one wrote.
const TOLERANCE: f64 = 1e-5;

fn network(positions: PositionEmbedding, merge_mode: MergeMode, window: usize) -> DitConfig {
    DitConfig {
        num_frames: window,
        tokens_per_frame: TOKENS,
        in_channels: CHANNELS,
        hidden_size: 16,
        depth: 3,
        num_heads: 2,
        merge_mode,
        causal_mask: CausalMask::TemporalCausal,
        positions,
        qk_norm: true,
        context_tokens: CONTEXT[0],
        context_dim: CONTEXT[1],
        ..DitConfig::default()
    }
}

/// Random tensors of a seed, the same in every run and thread.
struct Random {
    noise: FrameNoise,
    drawn: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self {
            noise: FrameNoise::new(seed),
            drawn: 0,
        }
    }

    fn tensor<const D: usize>(&mut self, shape: [usize; D]) -> Tensor<D> {
        let length = shape.iter().product();
        let values = self.noise.frame(0, self.drawn, NoiseStream::Start, length);
        self.drawn += 1;
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// A transformer in which every parameter is random, because freshly initialised modulation and
    /// final layers are zero. With much larger parameters, one network in thousands amplifies
    /// rounding errors to 1e-5.
    fn transformer(&mut self, config: &DitConfig) -> Transformer {
        Transformer::new(config, &ConditioningConfig::default(), &Device::flex())
            .expect("a transformer")
            .map(self)
    }
}

impl ModuleMapper for Random {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| self.tensor(x.dims()) * 0.15)
    }
}

/// A run to compare.
#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    merge_mode: MergeMode,
    window: usize,
    steps: usize,
    ar_step: usize,
    eta: f64,
    frames: usize,
    prefix: usize,
    batch: usize,
    guidance: f64,
}

prop_compose! {
    fn case()(
        seed in any::<u64>(),
        merge_mode in prop_oneof![Just(MergeMode::ShareNorm), Just(MergeMode::SeparateNorm)],
        window in 1..6usize,
        (steps, ar_step) in (1..7usize).prop_flat_map(|steps| (Just(steps), 0..=steps)),
        eta in prop_oneof![Just(0.0), Just(0.7)],
        frames in 1..9usize,
        prefix in prop_oneof![Just(0), 1..9usize],
        batch in 1..3usize,
        guidance in prop_oneof![Just(1.0), Just(1.8)],
    ) -> Case {
        Case { seed, merge_mode, window, steps, ar_step, eta, frames, prefix, batch, guidance }
    }
}

impl Case {
    fn sampler_config(&self) -> SamplerConfig {
        SamplerConfig {
            steps: self.steps,
            ar_step: self.ar_step,
            eta: self.eta,
        }
    }

    fn context(&self, random: &mut Random) -> Context {
        let [tokens, width] = CONTEXT;
        let mut vectors = || random.tensor([self.batch, tokens, width]);
        let context = Context::guided(vectors(), vectors(), self.guidance);
        match self.prefix {
            0 => context,
            frames => context.with_prefix(random.tensor([self.batch, frames, TOKENS, CHANNELS])),
        }
    }

    fn noise(&self) -> HostNoise {
        HostNoise::new(7, [self.batch, TOKENS, CHANNELS], &Device::flex())
    }

    /// How often each frame goes through the network in an iteration.
    fn copies(&self, context: &Context) -> usize {
        self.batch * context.evaluations()
    }
}

fn diffusion() -> Diffusion {
    DiffusionConfig::default().init().expect("the default")
}

/// The latents of all frames, and how many frames were evaluated.
fn collect(run: Sampling<'_, HostNoise>, prefix: usize) -> (Tensor<4>, usize) {
    let mut evaluations = 0;
    let mut latents = Vec::new();
    for iteration in run {
        evaluations += iteration.frame_evaluations;
        for frame in iteration.finished {
            assert_eq!(frame.index, prefix + latents.len());
            latents.push(frame.latent);
        }
    }
    (Tensor::cat(latents, 1), evaluations)
}

fn relative_error(actual: Tensor<4>, expected: Tensor<4>) -> f64 {
    let norm = |x: Tensor<4>| x.square().sum().sqrt().into_scalar::<f64>();
    norm(actual - expected.clone()) / norm(expected)
}

/// Number of evaluated frames if finished ones are evaluated once in every window.
fn evaluations_in_windows(sampler: &Sampler, window: usize, prefix: usize) -> usize {
    let plan = sampler.plan();
    let length = window.min(prefix + plan.config().frames);
    let mut seen = HashSet::new();
    let mut active = 0;
    for iteration in plan.iter() {
        active += iteration.active.len();
        let end = length.max(prefix + iteration.active.end);
        let start = end - length;
        seen.extend((start..prefix + iteration.active.start).map(|frame| (start, frame)));
    }
    active + seen.len()
}

fn check_windows(case: Case, positions: PositionEmbedding) -> Result<(), TestCaseError> {
    let config = network(positions, case.merge_mode, case.window);
    let sampler = diffusion().sampler(case.sampler_config(), case.frames, case.window);
    // Not every step difference finishes a long video.
    prop_assume!(sampler.is_ok());
    let sampler = sampler.expect("checked");
    let mut random = Random::new(case.seed);
    let transformer = random.transformer(&config);
    let (noise, context) = (case.noise(), case.context(&mut random));
    let copies = case.copies(&context);
    let (expected, full) = collect(
        sampler.run(&transformer, &noise, context.clone()),
        case.prefix,
    );
    let run = transformer.sample(&sampler, &noise, context);
    let (actual, active) = collect(run, case.prefix);
    let error = relative_error(actual, expected);
    prop_assert!(error < TOLERANCE, "relative error {error:.1e}");
    prop_assert!(active <= full);
    let evaluations = evaluations_in_windows(&sampler, case.window, case.prefix);
    prop_assert_eq!(active, copies * evaluations);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_fixed_table_of_positions(case in case()) {
        check_windows(case, PositionEmbedding::SinCos)?;
    }

    #[test]
    fn rotary_positions(case in case()) {
        check_windows(case, PositionEmbedding::Rotary)?;
    }

    /// The oracle evaluates the whole history in every iteration, under the mask of the window.
    #[test]
    fn positions_without_an_end(case in case()) {
        let transformer = network(PositionEmbedding::FrameRotary, case.merge_mode, case.window);
        let config = ModelConfig {
            transformer: Some(transformer.clone()),
            ..ModelConfig::default()
        };
        let sampler = config.sampler(case.sampler_config(), case.frames);
        prop_assert_eq!(sampler.is_err(), case.ar_step == 0 && case.frames > case.window);
        prop_assume!(sampler.is_ok());
        let sampler = sampler.expect("checked");
        let mut random = Random::new(case.seed);
        let transformer = random.transformer(&transformer);
        let (noise, context) = (case.noise(), case.context(&mut random));
        let copies = case.copies(&context);

        let history = case.prefix + case.frames;
        let oracle = diffusion()
            .sampler(case.sampler_config(), case.frames, history)
            .expect("a window of everything");
        let run = oracle.run(&transformer, &noise, context.clone());
        let (expected, _) = collect(run, case.prefix);
        let run = transformer.sample(&sampler, &noise, context);
        let (actual, evaluations) = collect(run, case.prefix);
        let error = relative_error(actual, expected);
        prop_assert!(error < TOLERANCE, "relative error {error:.1e}");
        // Every frame S times, and once more if a later frame needs it; the prefix once.
        let finished_before_the_end = if case.ar_step == 0 { 0 } else { case.frames - 1 };
        let frames = case.frames * case.steps + finished_before_the_end + case.prefix;
        prop_assert_eq!(evaluations, copies * frames);
    }
}

#[test]
fn a_prefix_reaches_the_frames_after_it() {
    let case = Case {
        seed: 3,
        merge_mode: MergeMode::SeparateNorm,
        window: 3,
        steps: 4,
        ar_step: 2,
        eta: 0.0,
        frames: 2,
        prefix: 5,
        batch: 1,
        guidance: 1.0,
    };
    for positions in [
        PositionEmbedding::SinCos,
        PositionEmbedding::Rotary,
        PositionEmbedding::FrameRotary,
    ] {
        let mut random = Random::new(case.seed);
        let network = network(positions, case.merge_mode, case.window);
        let transformer = random.transformer(&network);
        let sampler = diffusion()
            .sampler(case.sampler_config(), case.frames, case.window)
            .expect("a sampler");
        let [tokens, width] = CONTEXT;
        let vectors = random.tensor([1, tokens, width]);
        let mut sample = || {
            let prefix = random.tensor([1, case.prefix, TOKENS, CHANNELS]);
            let context = Context::unguided(vectors.clone()).with_prefix(prefix);
            collect(
                transformer.sample(&sampler, &case.noise(), context),
                case.prefix,
            )
        };
        let difference = relative_error(sample().0, sample().0);
        assert!(difference > 1e-2, "{positions:?}: {difference:.1e}");
    }
}
