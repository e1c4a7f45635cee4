//! Whether a device agrees with the CPU: every mask and merge mode, both tokenizers, gradients, a
//! step of the optimizer, ten steps of training, and both samplers.

use std::path::Path;

use ar_benches::{noise, perturbed_model, small_diffusion};
use ar_diffusion::{Denoiser, HostNoise, SamplerConfig};
use ar_dit::{CausalMask, DitConfig, MergeMode, PositionEmbedding};
use ar_model::{ComputePrecision, ModelConfig, Precision, Transformer, VideoModel};
use ar_train::trainer::Trainer;
use ar_vae::{ArVaeConfig, ConvVaeConfig, PixelDecoderConfig, VaeConfig};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::record::Record;

/// The tolerance in 16 bits.
const BF16_TOLERANCE: f64 = 5e-2;
const CLIPS: usize = 2;
const TRAINING_STEPS: usize = 10;
const LEARNING_RATE: f64 = 1e-3;

/// Compares two devices, of which the second one is the reference.
pub(crate) struct Parity<'a> {
    pub name: &'a str,
    pub device: &'a Device,
    pub cpu: &'a Device,
    /// How far results may be apart, relative to their size.
    pub tolerance: f64,
    /// Where models are saved, so that both devices load the same.
    pub folder: &'a Path,
}

type Tell<'a> = &'a mut dyn FnMut(Record);

impl Parity<'_> {
    pub(crate) fn check(&self, tell: Tell<'_>) {
        for network in networks() {
            self.transformer(&network, tell);
        }
        self.sampling(tell);
        self.tokenizers(tell);
        self.training(tell);
    }

    fn tell(&self, tell: Tell<'_>, what: impl Into<String>, difference: f64, tolerance: f64) {
        tell(Record::Check {
            device: self.name.to_owned(),
            what: what.into(),
            difference,
            tolerance,
        });
    }

    /// A model on the CPU, and the same on the device.
    fn models(&self, config: ModelConfig) -> [VideoModel; 2] {
        let model = if config.transformer.is_some() {
            perturbed_model(config, self.cpu)
        } else {
            VideoModel::init(config, self.cpu).expect("a model")
        };
        let folder = self.folder.join("model");
        let saved = model.save(&folder, Precision::Full);
        saved.expect("the folder can be written");
        let other = VideoModel::load(&folder, self.device).expect("what was saved");
        [model, other]
    }

    fn transformer(&self, network: &DitConfig, tell: Tell<'_>) {
        let models = self.models(model_of(network));
        let input = Input::new(network, self.cpu);
        let forward = |model: &VideoModel, precision: ComputePrecision, device: &Device| {
            let transformer = model.transformer().expect("a transformer").clone();
            let transformer = precision.of(transformer);
            let (x, timesteps) = input.on(device);
            values(transformer.predict(x, timesteps, transformer.context().unconditional(CLIPS)))
        };
        let right = forward(&models[0], ComputePrecision::F32, self.cpu);
        let what = format!(
            "transformer, {:?}, {:?}, {:?}",
            network.causal_mask, network.merge_mode, network.positions
        );
        let precisions = [
            (ComputePrecision::F32, "", self.tolerance),
            (ComputePrecision::Bf16, ", bf16", BF16_TOLERANCE),
        ];
        for (precision, suffix, tolerance) in precisions {
            if precision.is_supported(self.device) {
                let found = forward(&models[1], precision, self.device);
                let difference = relative(&found, &right);
                self.tell(tell, format!("{what}{suffix}"), difference, tolerance);
            }
        }
    }

    fn sampling(&self, tell: Tell<'_>) {
        let network = DitConfig {
            causal_mask: CausalMask::TemporalCausal,
            positions: PositionEmbedding::FrameRotary,
            qk_norm: true,
            ..tiny()
        };
        let models = self.models(model_of(&network));
        let frames = network.num_frames;
        let sample = |model: &VideoModel, device: &Device, ar_step: usize, active: bool| {
            let config = SamplerConfig {
                steps: 8,
                ar_step,
                eta: 1.0,
            };
            let sampler = model.diffusion().sampler(config, frames, frames);
            let sampler = sampler.expect("a sampler");
            let noise = HostNoise::new(
                7,
                [2, network.tokens_per_frame, network.in_channels],
                device,
            );
            let transformer = model.transformer().expect("a transformer");
            let context = transformer.sampling_context(None, 2, 1.0);
            let context = context.expect("a context");
            let run = if active {
                let causal = transformer.causal().expect("a causal network");
                sampler.run_active_frames(causal, &noise, context)
            } else {
                sampler.run(transformer, &noise, context)
            };
            let finished = run.flat_map(|iteration| iteration.finished);
            let latents = finished.map(|frame| frame.latent).collect();
            values(Tensor::cat(latents, 1))
        };
        for ar_step in [0, 3, 8] {
            let right = sample(&models[0], self.cpu, ar_step, false);
            for active in [false, true] {
                let found = sample(&models[1], self.device, ar_step, active);
                let method = if active {
                    "active frames"
                } else {
                    "full window"
                };
                let what = format!("sampling, s = {ar_step} of 8, {method}");
                self.tell(tell, what, relative(&found, &right), self.tolerance);
            }
        }
    }

    fn tokenizers(&self, tell: Tell<'_>) {
        for (name, config) in tokenizers() {
            let models = self.models(ModelConfig {
                vae: Some(config.clone()),
                ..ModelConfig::default()
            });
            let side = config.image_size();
            let pixels = ar_benches::pixels([1, 3], side, self.cpu).into_data();
            let run = |model: &VideoModel, device: &Device| {
                let pixels = Tensor::<5>::from_data(pixels.clone(), device);
                let latents = model.encode(pixels).expect("latents");
                let decoded = model.decode(latents.clone()).expect("frames");
                [values(latents), values(decoded)]
            };
            let right = run(&models[0], self.cpu);
            let found = run(&models[1], self.device);
            for (step, (found, right)) in ["encoded", "and decoded"]
                .into_iter()
                .zip(found.iter().zip(&right))
            {
                let difference = relative(found, right);
                self.tell(tell, format!("{name}, {step}"), difference, self.tolerance);
            }
        }
    }

    fn training(&self, tell: Tell<'_>) {
        let network = DitConfig {
            causal_mask: CausalMask::TemporalCausal,
            ..tiny()
        };
        let folder = self.folder.join("training");
        let model = perturbed_model(model_of(&network), self.cpu);
        let saved = model.save(&folder, Precision::Full);
        saved.expect("the folder can be written");
        let input = Input::new(&network, self.cpu);
        let run = |device: &Device, precision: ComputePrecision| {
            let device = device.clone().autodiff();
            let model = VideoModel::load(&folder, &device).expect("what was saved");
            let transformer = model.transformer().expect("a transformer").clone();
            let (x, timesteps) = input.on(&device);
            let loss = |transformer: &Transformer| {
                let context = transformer.context().unconditional(CLIPS);
                let prediction = transformer.predict(x.clone(), timesteps.clone(), context);
                (prediction - x.clone()).square().mean()
            };
            let backward = loss(&transformer).backward();
            let gradients = GradientsParams::from_grads(backward, &transformer);
            let mut all = Values(&gradients, Vec::new());
            transformer.visit(&mut all);
            let gradients = all.1;

            let mut config = small_diffusion().optimizer;
            config.learning_rate = LEARNING_RATE;
            config.warmup_steps = 0;
            let mut trainer = Trainer::new(transformer, &config, 1_000).with_precision(precision);
            let mut losses = Vec::new();
            let mut after_one = Vec::new();
            for step in 0..TRAINING_STEPS {
                trainer.learner.accumulate_pieces(|network, collect| {
                    let loss = loss(network);
                    collect(loss.clone().backward());
                    losses.push(loss.clone().into_scalar::<f32>());
                    loss
                });
                trainer.update();
                if step == 0 {
                    let mut weights = Weights(Vec::new());
                    trainer.model().visit(&mut weights);
                    after_one = weights.0;
                }
            }
            (gradients, after_one, losses)
        };
        let right = run(self.cpu, ComputePrecision::F32);
        let found = run(self.device, ComputePrecision::F32);
        let pairs = [
            ("gradients of a training step", &found.0, &right.0),
            ("weights after a step of AdamW", &found.1, &right.1),
            ("losses of ten steps of training", &found.2, &right.2),
        ];
        for (what, found, right) in pairs {
            self.tell(tell, what, relative(found, right), self.tolerance);
        }
        let falls = |losses: &[f32]| f64::from(losses[TRAINING_STEPS - 1] / losses[0]);
        self.tell(
            tell,
            "the last loss of the ten over the first",
            falls(&found.2),
            0.99,
        );
        if ComputePrecision::Bf16.is_supported(self.device) {
            let found = run(self.device, ComputePrecision::Bf16);
            let difference = relative(&found.2, &right.2);
            let what = "losses of ten steps of training, bf16";
            self.tell(tell, what, difference, BF16_TOLERANCE);
        }
    }
}

/// Clips with timesteps that rise over the frames.
struct Input {
    x: TensorData,
    timesteps: TensorData,
}

impl Input {
    fn new(network: &DitConfig, device: &Device) -> Self {
        let frames = network.num_frames;
        let shape = [CLIPS, frames, network.tokens_per_frame, network.in_channels];
        let timesteps = (0..CLIPS * frames).map(|i| (150 * (i % frames) + 7) as i64);
        Self {
            x: noise(shape, device).into_data(),
            timesteps: TensorData::new(timesteps.collect::<Vec<_>>(), [CLIPS, frames]),
        }
    }

    fn on(&self, device: &Device) -> (Tensor<4>, Tensor<2, Int>) {
        (
            Tensor::from_data(self.x.clone(), device),
            Tensor::from_data(self.timesteps.clone(), device),
        )
    }
}

fn tiny() -> DitConfig {
    DitConfig {
        num_frames: 5,
        tokens_per_frame: 6,
        in_channels: 4,
        hidden_size: 32,
        depth: 2,
        num_heads: 2,
        context_tokens: 3,
        context_dim: 8,
        ..DitConfig::default()
    }
}

/// Every mask, merge mode and kind of positions.
fn networks() -> Vec<DitConfig> {
    let masks = [
        CausalMask::None,
        CausalMask::TemporalCausal,
        CausalMask::VideoTemporalCausal,
    ];
    let merge_modes = [
        MergeMode::ShareNorm,
        MergeMode::SeparateNorm,
        MergeMode::ShareNormShiftFirstT,
        MergeMode::Reproduce,
    ];
    let of = |causal_mask, merge_mode, positions| DitConfig {
        causal_mask,
        merge_mode,
        positions,
        qk_norm: positions == PositionEmbedding::FrameRotary,
        ..tiny()
    };
    let mut networks: Vec<DitConfig> = masks
        .into_iter()
        .flat_map(|mask| merge_modes.map(|merge| of(mask, merge, PositionEmbedding::SinCos)))
        .collect();
    for positions in [PositionEmbedding::Rotary, PositionEmbedding::FrameRotary] {
        let (mask, merge) = (CausalMask::TemporalCausal, MergeMode::SeparateNorm);
        networks.push(of(mask, merge, positions));
    }
    networks
}

fn tokenizers() -> [(&'static str, VaeConfig); 3] {
    let transformer = ArVaeConfig {
        image_size: 16,
        patch_size: 4,
        width: 32,
        layers: 2,
        heads: 2,
        latent_tokens: 4,
        codebook_channels: 16,
        pixel_decoder: PixelDecoderConfig {
            hidden_channels: 8,
            channel_multipliers: vec![1, 2, 2],
            res_blocks: 1,
            z_channels: 8,
            norm_groups: 4,
        },
        ..ArVaeConfig::default()
    };
    let convolutional = ConvVaeConfig {
        image_size: 16,
        patch_size: 2,
        channels: vec![8, 16],
        ..ConvVaeConfig::default()
    };
    let temporal = ArVaeConfig {
        temporal: true,
        ..transformer.clone()
    };
    [
        ("AR-VAE", VaeConfig::Transformer(transformer)),
        (
            "AR-VAE with temporal blocks",
            VaeConfig::Transformer(temporal),
        ),
        ("convolutional VAE", VaeConfig::Conv(convolutional)),
    ]
}

fn model_of(network: &DitConfig) -> ModelConfig {
    ModelConfig {
        transformer: Some(network.clone()),
        ..ModelConfig::default()
    }
}

struct Values<'a>(&'a GradientsParams, Vec<f32>);

impl ModuleVisitor for Values<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.0.get::<D>(param.id) {
            self.1.extend(gradient.into_data().iter::<f32>());
        }
    }
}

struct Weights(Vec<f32>);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.extend(values(param.val().inner()));
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The norm of the difference, divided by the norm of the reference.
fn relative(found: &[f32], right: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = found.iter().zip(right);
    let mut difference = pairs.map(|(&found, &right)| f64::from(found) - f64::from(right));
    if found.len() != right.len() {
        return f64::NAN;
    }
    norm(&mut difference) / norm(&mut right.iter().copied().map(f64::from))
}
