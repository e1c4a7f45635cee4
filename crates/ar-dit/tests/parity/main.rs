//! Compares the transformer, its gradients and whole sampling runs with the method's reference implementation.
//!
//! Tolerances are for f32: a relative error `|a - b| / |b|` of 1e-5 for one forward pass, of 1e-4 for
//! gradients and for a whole sampling run.

use ar_diffusion::{
    Context, Diffusion, DiffusionConfig, GivenNoise, HostNoise, LossConfig, Parameterization,
    SamplerConfig,
};
use ar_dit::{CHECKPOINT_KEYS, CausalMask, Dit, DitConfig, MergeMode, PositionEmbedding};
use ar_golden::{Golden, assert_close};
use ar_schedulers::NoiseScheduleConfig;
use ar_weights::{KeyMap, Precision, WeightsSource, load_weights, save_weights};
use burn::module::{Initializer, Module, ModuleMapper, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use safetensors::SafeTensors;
use serde_json::Value;

const FORWARD: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;
const SAMPLING: f64 = 1e-4;

/// The contents of a checkpoint: the network and the context of unconditional samples.
#[derive(Module, Debug)]
struct Checkpoint {
    dit: Dit,
    context_emb: Param<Tensor<2>>,
}

const KEYS: KeyMap = KeyMap::new(
    &[
        ("dit.", "diffusion_model.model."),
        CHECKPOINT_KEYS[0],
        CHECKPOINT_KEYS[1],
        CHECKPOINT_KEYS[2],
        CHECKPOINT_KEYS[3],
    ],
    // Tables of the diffusion process and of positions.
    &[
        "diffusion_model.betas",
        "diffusion_model.alphas_cumprod",
        "diffusion_model.sqrt_",
        "diffusion_model.log_one_minus_alphas_cumprod",
        "diffusion_model.posterior_",
        "diffusion_model.logvar",
        "diffusion_model.model.pos_embed",
        "rotary_emb.freqs",
    ],
);

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn diffusion(golden: &Golden) -> Diffusion {
    let text = |key: &str| golden.config[key].as_str();
    assert_eq!(text("beta_schedule"), Some("linear"));
    let config = DiffusionConfig {
        parameterization: match text("parameterization") {
            Some("x0") => Parameterization::X0,
            Some("eps") => Parameterization::Eps,
            Some("v") => Parameterization::V,
            other => panic!("parameterization {other:?}"),
        },
        schedule: NoiseScheduleConfig {
            timesteps: golden.size("timesteps"),
            linear_start: number(&golden.config["linear_start"]),
            linear_end: number(&golden.config["linear_end"]),
            ..NoiseScheduleConfig::default()
        },
    };
    config.init().expect("a schedule")
}

fn load(golden: &Golden, device: &Device) -> Checkpoint {
    let text = |key: &str| golden.config[key].as_str();
    let config = DitConfig {
        num_frames: golden.size("num_frames"),
        tokens_per_frame: golden.size("n_token_per_frame"),
        in_channels: golden.size("in_channels"),
        hidden_size: golden.size("hidden_size"),
        depth: golden.size("depth"),
        num_heads: golden.size("num_heads"),
        mlp_ratio: number(&golden.config["mlp_ratio"]),
        merge_mode: match text("merge_mode") {
            Some("share_norm") => MergeMode::ShareNorm,
            Some("separate_norm") => MergeMode::SeparateNorm,
            Some("sharenorm_shift_first_t") => MergeMode::ShareNormShiftFirstT,
            Some("reproduce") => MergeMode::Reproduce,
            other => panic!("merge mode {other:?}"),
        },
        causal_mask: match text("causal_attn_mode") {
            None => CausalMask::None,
            Some("temporal_causal") => CausalMask::TemporalCausal,
            Some("video_temporal_causal") => CausalMask::VideoTemporalCausal,
            other => panic!("mask {other:?}"),
        },
        positions: if golden.flag("use_rotary_emb") {
            PositionEmbedding::Rotary
        } else {
            PositionEmbedding::SinCos
        },
        qk_norm: golden.flag("qk_norm"),
        context_tokens: golden.size("context_token"),
        context_dim: golden.size("context_dim"),
    };
    let context = [config.context_tokens, config.context_dim];
    let mut checkpoint = Checkpoint {
        dit: config.init(device).expect("a network"),
        context_emb: Initializer::Zeros.init(context, device),
    };
    let path = golden.folder.join("model.safetensors");
    load_weights(&mut checkpoint, WeightsSource::File(&path), KEYS).expect("a fitting checkpoint");
    checkpoint
}

fn timesteps(golden: &Golden, [batch, frames]: [usize; 2]) -> (Vec<usize>, Vec<i64>) {
    let timesteps = golden.integers("forward.t");
    assert_eq!(timesteps.len(), batch * frames);
    (timesteps.iter().map(|&t| t as usize).collect(), timesteps)
}

fn check_forward_and_gradients(golden: &Golden) {
    let device = Device::flex().autodiff();
    let checkpoint = load(golden, &device);
    let dit = &checkpoint.dit;
    let x0 = golden.tensor::<4>("forward.x", &device);
    let [batch, frames, ..] = x0.dims();
    let (steps, integers) = timesteps(golden, [batch, frames]);
    let t = Tensor::<2, Int>::from_data(TensorData::new(integers, [batch, frames]), &device);
    let context = golden.tensor::<3>("forward.context", &device);

    let output = dit.forward(x0.clone(), t.clone(), context.clone());
    let expected = golden.tensor("forward.output", &device);
    assert_close("forward", output, expected, FORWARD);

    let noise = golden.tensor::<4>("loss.noise", &device);
    let diffusion = diffusion(golden);
    let noisy = diffusion.corrupt(x0.clone(), noise.clone(), &steps);
    let expected = golden.tensor("loss.x_noisy", &device);
    assert_close("corruption", noisy.clone(), expected, FORWARD);

    let prediction = dit.forward(noisy, t, context);
    let target = diffusion.target(x0, noise, &steps);
    let loss = LossConfig::default().loss(prediction, target);
    let expected = golden.tensor::<1>("loss.value", &device);
    assert_close("loss", loss.clone(), expected, FORWARD);

    // Gradients are compared with the names and the layout of the checkpoint.
    let gradients = loss.backward();
    let names = golden.names("grad.");
    assert!(!names.is_empty());
    let gradients = by_checkpoint_name(&checkpoint, &gradients);
    for name in names {
        let expected = golden.tensor::<2>(&format!("grad.{name}"), &device);
        let (_, actual) = gradients
            .iter()
            .find(|(key, _)| *key == format!("diffusion_model.model.{name}"))
            .unwrap_or_else(|| panic!("no gradient of {name}"));
        assert_close(&format!("grad.{name}"), actual.clone(), expected, GRADIENT);
    }
}

/// The gradients of all matrices, as a checkpoint would store them.
fn by_checkpoint_name(checkpoint: &Checkpoint, gradients: &Gradients) -> Vec<(String, Tensor<2>)> {
    struct Replace<'a>(&'a Gradients);
    impl ModuleMapper for Replace<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let gradient = param.val().grad(self.0);
            param.map(|value| gradient.unwrap_or_else(|| value.inner().zeros_like()))
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gradients.safetensors");
    let gradients = checkpoint.clone().map(&mut Replace(gradients));
    save_weights(&gradients, &path, KEYS, Precision::Full).expect("gradients in a file");
    let bytes = std::fs::read(&path).expect("the file");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    tensors
        .iter()
        .filter(|(_, view)| view.shape().len() == 2)
        .map(|(name, view)| {
            let values: Vec<f32> = view
                .data()
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
                .collect();
            let data = TensorData::new(values, view.shape().to_vec());
            (
                name.to_owned(),
                Tensor::from_data(data, &Device::flex().autodiff()),
            )
        })
        .collect()
}

fn check_sampling(golden: &Golden) {
    let device = Device::flex();
    let Checkpoint { dit, context_emb } = load(golden, &device);
    let denoiser = |x: Tensor<4>, t: Tensor<2, Int>, context: Tensor<3>| dit.forward(x, t, context);
    for case in golden.config["sample_cases"].as_array().expect("a list") {
        let key = case["key"].as_str().expect("a key");
        let size = |name: &str| number(&case[name]) as usize;
        let x_t = golden.tensor::<4>(&format!("{key}.x_T"), &device);
        let [batch, frames, tokens, channels] = x_t.dims();
        assert_eq!(frames, size("total_frames"));
        let sampler = diffusion(golden)
            .sampler(
                SamplerConfig {
                    steps: size("steps"),
                    ar_step: size("ar_step"),
                    eta: number(&case["eta"]),
                },
                frames,
                dit.config().num_frames,
            )
            .expect("a complete plan");
        let [context_tokens, width] = context_emb.dims();
        let condition = context_emb.val().unsqueeze::<3>();
        let condition = condition.expand([batch, context_tokens, width]);
        let null = condition.zeros_like();
        let context = Context::guided(condition, null, number(&case["guidance"]));
        let noise = GivenNoise {
            start: x_t,
            steps: HostNoise::new(0, [batch, tokens, channels], &device),
        };
        let expected = golden.tensor::<4>(&format!("{key}.latents"), &device);
        let frames: Vec<Tensor<4>> = sampler
            .run(&denoiser, &noise, context)
            .flat_map(|iteration| iteration.finished)
            .map(|frame| frame.latent)
            .collect();
        assert_close(key, Tensor::cat(frames, 1), expected, SAMPLING);
    }
}

macro_rules! parity {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let golden = Golden::open(concat!("tests/golden/", stringify!($name)));
            check_forward_and_gradients(&golden);
            check_sampling(&golden);
        }
    )*};
}

parity! {
    dit_full_v
    dit_reproduce
    dit_rope_qknorm_eps
    dit_separate_norm
    dit_shift_first_t
    dit_temporal_causal_x0
    dit_video_temporal_causal_x0
}
