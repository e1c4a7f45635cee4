//! How long a forward pass, a training step and sampling take.

use std::path::Path;
use std::time::{Duration, Instant};

use ar_benches::{noise, seconds, small_diffusion, wait, write_tensors};
use ar_data::LatentItem;
use ar_diffusion::{Denoiser, HostNoise, SamplerConfig};
use ar_model::{ComputePrecision, LatentScale, Transformer, VideoModel};
use ar_train::config::DiffusionRun;
use ar_train::diffusion::Objective;
use ar_train::trainer::Trainer;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::memory::MemoryWatch;
use crate::networks::Network;
use crate::record::{Record, Time};

const STEPS: usize = 50;
const AR_STEPS: [usize; 3] = [0, 5, STEPS];

/// How long one piece of work is measured, after a first run.
const BUDGET: Duration = Duration::from_secs(2);
const LEAST_RUNS: usize = 3;
const MOST_RUNS: usize = 50;

/// How long a sampling run may take. The rest of a longer one is extrapolated from its iterations, which all take about
/// the same time.
const SAMPLING: Duration = Duration::from_millis(1500);

/// One network in one precision on one device.
pub(crate) struct Case<'a> {
    pub network: Network,
    pub precision: ComputePrecision,
    pub device: &'a Device,
    /// The device's name.
    pub name: &'a str,
}

impl Case<'_> {
    /// Measures everything, and passes each result to `tell`.
    pub(crate) fn measure(&self, tell: &mut dyn FnMut(Record)) {
        let watch = MemoryWatch::start();
        let mut tell = |work: &str, [first, median]: [f64; 2]| {
            tell(Record::Time(Time {
                side: format!("here: {}", self.name),
                work: work.to_owned(),
                network: self.network.name().to_owned(),
                precision: precision_name(self.precision).to_owned(),
                seconds: median,
                first_seconds: first,
                memory_bytes: watch.as_ref().map(MemoryWatch::peak),
            }));
        };
        let model = self.network.init(self.device);
        let transformer = model.transformer().expect("a transformer").clone();
        let transformer = self.precision.of(transformer);
        tell("forward", self.forward(&transformer));
        let sampling = |active: bool, tell: &mut dyn FnMut(&str, [f64; 2])| {
            for ar_step in AR_STEPS {
                let method = if active {
                    "active frames"
                } else {
                    "full window"
                };
                let work = format!("sampling, s = {ar_step}, {method}");
                tell(&work, self.sampling(&model, &transformer, ar_step, active));
            }
        };
        sampling(false, &mut tell);
        for recomputing in [false, true] {
            if recomputing && self.network != Network::Published {
                continue;
            }
            let suffix = if recomputing { ", recomputing" } else { "" };
            let work = format!("training step{suffix}");
            tell(&work, self.training_step(recomputing));
        }
        // Last, because every number of frames is another shape to compile for.
        sampling(true, &mut tell);
    }

    fn forward(&self, transformer: &Transformer) -> [f64; 2] {
        let (x, timesteps) = input(transformer, self.device);
        let context = transformer.context().unconditional(1);
        self.times(|| {
            let output = transformer.predict(x.clone(), timesteps.clone(), context.clone());
            wait(self.device);
            drop(output);
        })
    }

    /// Seconds of the first run, and the median of the others.
    fn times(&self, mut run: impl FnMut()) -> [f64; 2] {
        let mut timed = || {
            let start = Instant::now();
            run();
            seconds(start, self.device)
        };
        let first = timed();
        let begin = Instant::now();
        let mut times = Vec::new();
        while times.len() < LEAST_RUNS || (times.len() < MOST_RUNS && begin.elapsed() < BUDGET) {
            times.push(timed());
        }
        times.sort_by(f64::total_cmp);
        [first, times[times.len() / 2]]
    }

    fn sampling(
        &self,
        model: &VideoModel,
        transformer: &Transformer,
        ar_step: usize,
        active: bool,
    ) -> [f64; 2] {
        let dit = transformer.dit().config();
        let frames = dit.num_frames;
        let config = SamplerConfig {
            steps: STEPS,
            ar_step,
            eta: 0.0,
        };
        let sampler = model.diffusion().sampler(config, frames, frames);
        let sampler = sampler.expect("a sampler");
        let noise = HostNoise::new(0, [1, dit.tokens_per_frame, dit.in_channels], self.device);
        [(); 2].map(|()| {
            let context = transformer.sampling_context(None, 1, 1.0);
            let context = context.expect("a context");
            let start = Instant::now();
            let mut run = if active {
                let causal = transformer.causal().expect("a causal network");
                sampler.run_active_frames(causal, &noise, context)
            } else {
                sampler.run(transformer, &noise, context)
            };
            let iterations = run.len();
            let mut done = 0;
            while run.next().is_some() {
                done += 1;
                // The clock is meaningless while the device is still computing.
                if done % 10 == 0 {
                    wait(self.device);
                    if start.elapsed() > SAMPLING {
                        break;
                    }
                }
            }
            seconds(start, self.device) * iterations as f64 / done as f64
        })
    }

    fn training_step(&self, recomputing: bool) -> [f64; 2] {
        let config = training(self.network, recomputing);
        let device = self.device.clone().autodiff();
        let (mut trainer, items) = trainer(&config, self.precision, &device);
        let objective = Objective::new(&config, None).expect("an objective");
        let mut step = 0;
        self.times(|| {
            let draws = objective.draws(step, [items.len(), config.transformer.num_frames]);
            let loss = objective.accumulate(&mut trainer, &items, &draws);
            assert!(loss.expect("a loss").is_finite());
            trainer.update();
            step += 1;
        })
    }
}

/// A clip with timesteps that rise over the frames.
fn input(transformer: &Transformer, device: &Device) -> (Tensor<4>, Tensor<2, Int>) {
    let dit = transformer.dit().config();
    let frames = dit.num_frames;
    let x = noise([1, frames, dit.tokens_per_frame, dit.in_channels], device);
    let timesteps = (0..frames).map(|frame| (frame * 1000 / frames) as i64);
    let timesteps = TensorData::new(timesteps.collect::<Vec<_>>(), [1, frames]);
    (x, Tensor::from_data(timesteps, device))
}

/// Writes a clip and the network's output for it beside the network, for PyTorch.
pub(crate) fn leave_forward(
    model: &VideoModel,
    folder: &Path,
    device: &Device,
) -> anyhow::Result<()> {
    let transformer = model.transformer()?;
    let (x, timesteps) = input(transformer, device);
    let context = transformer.context().unconditional(1);
    let output = transformer.predict(x.clone(), timesteps.clone(), context);
    let tensors = [
        ("x", x.into_data()),
        ("timesteps", timesteps.into_data()),
        ("output", output.into_data()),
    ];
    write_tensors(&folder.join("forward.safetensors"), &tensors);
    Ok(())
}

pub(crate) fn precision_name(precision: ComputePrecision) -> &'static str {
    match precision {
        ComputePrecision::F32 => "f32",
        ComputePrecision::Bf16 => "bf16",
        ComputePrecision::Bf16Products => "bf16_products",
    }
}

/// How a network is trained.
pub(crate) fn training(network: Network, recomputing: bool) -> DiffusionRun {
    let model = network.config();
    let mut config = small_diffusion();
    config.activation_checkpointing = recomputing;
    config.short_clips = 0.0;
    config.latent_scale = LatentScale::Off;
    config.run.batch_size = network.batch();
    config.transformer = model.transformer.expect("a transformer");
    config.conditioning = model.conditioning;
    config
}

/// A network at the start of its training, and clips for a step.
pub(crate) fn trainer(
    config: &DiffusionRun,
    precision: ComputePrecision,
    device: &Device,
) -> (Trainer<Transformer>, Vec<LatentItem>) {
    let transformer = Transformer::new(&config.transformer, &config.conditioning, device);
    let transformer = transformer.expect("a transformer");
    let trainer = Trainer::new(transformer, &config.optimizer, 1_000_000).with_precision(precision);
    let dit = &config.transformer;
    let shape = [dit.num_frames, dit.tokens_per_frame, dit.in_channels];
    let items = (0..config.run.batch_size)
        .map(|_| LatentItem {
            latents: noise(shape, device).into_data().iter::<f32>().collect(),
            shape,
            label: None,
        })
        .collect();
    (trainer, items)
}
