use ar_golden::{Golden, assert_close};
use std::path::Path;

use ar_diffusion::{
    Denoiser, DiffusionConfig, GivenNoise, HostNoise, LossConfig, Parameterization, SamplerConfig,
};
use ar_dit::{CausalMask, DitConfig, MergeMode, PositionEmbedding};
use ar_model::{ConditioningConfig, ImportOptions, ModelConfig, TRANSFORMER_KEYS, VideoModel};
use ar_schedulers::NoiseScheduleConfig;
use ar_weights::save_weights;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;

use crate::{FORWARD, GRADIENT, SAMPLING};

fn config(golden: &Golden) -> ModelConfig {
    let text = |key: &str| golden.config[key].as_str();
    let number = |value: &Value| value.as_f64().expect("a number");
    assert_eq!(text("beta_schedule"), Some("linear"));
    ModelConfig {
        diffusion: DiffusionConfig {
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
        },
        transformer: Some(DitConfig {
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
        }),
        ..ModelConfig::default()
    }
}

fn load(golden: &Golden, device: &Device) -> VideoModel {
    let weights = golden.folder.join("model.safetensors");
    let folder = tempfile::tempdir().expect("a folder");
    let options = ImportOptions {
        transformer: Some(weights),
        config: Some(config(golden)),
        ..ImportOptions::default()
    };
    ar_model::import(&options, folder.path()).expect("a fitting checkpoint");
    VideoModel::load(folder.path(), device).expect("a model")
}

fn timesteps(golden: &Golden, [batch, frames]: [usize; 2]) -> (Vec<usize>, Vec<i64>) {
    let timesteps = golden.integers("forward.t");
    assert_eq!(timesteps.len(), batch * frames);
    (timesteps.iter().map(|&t| t as usize).collect(), timesteps)
}

fn check_forward_and_gradients(golden: &Golden) {
    let device = Device::flex().autodiff();
    let model = load(golden, &device);
    let transformer = model.transformer().expect("a transformer");
    let x0 = golden.tensor::<4>("forward.x", &device);
    let [batch, frames, ..] = x0.dims();
    let (steps, integers) = timesteps(golden, [batch, frames]);
    let t = Tensor::<2, Int>::from_data(TensorData::new(integers, [batch, frames]), &device);
    let context = golden.tensor::<3>("forward.context", &device);

    let output = transformer.predict(x0.clone(), t.clone(), context.clone());
    let expected = golden.tensor("forward.output", &device);
    assert_close("forward", output, expected, FORWARD);

    let noise = golden.tensor::<4>("loss.noise", &device);
    let diffusion = model.diffusion();
    let noisy = diffusion.corrupt(x0.clone(), noise.clone(), &steps);
    let expected = golden.tensor("loss.x_noisy", &device);
    assert_close("corruption", noisy.clone(), expected, FORWARD);

    let prediction = transformer.predict(noisy, t, context);
    let target = diffusion.target(x0, noise, &steps);
    let loss = LossConfig::default().loss(prediction, target);
    let expected = golden.tensor::<1>("loss.value", &device);
    assert_close("loss", loss.clone(), expected, FORWARD);

    // Gradients are compared under the names and in the layout of the checkpoint.
    let gradients = loss.backward();
    let names = golden.names("grad.");
    assert!(!names.is_empty());
    let gradients = by_checkpoint_name(transformer, &gradients);
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
fn by_checkpoint_name(
    transformer: &ar_model::Transformer,
    gradients: &burn::tensor::Gradients,
) -> Vec<(String, Tensor<2>)> {
    struct Replace<'a>(&'a burn::tensor::Gradients);
    impl burn::module::ModuleMapper for Replace<'_> {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            let gradient = param.val().grad(self.0);
            param.map(|value| gradient.unwrap_or_else(|| value.inner().zeros_like()))
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gradients.safetensors");
    let gradients = transformer.clone().map(&mut Replace(gradients));
    save_weights(
        &gradients,
        &path,
        TRANSFORMER_KEYS,
        ar_model::Precision::Full,
    )
    .expect("gradients in a file");
    let bytes = std::fs::read(&path).expect("the file");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
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
    let model = load(golden, &device);
    let transformer = model.transformer().expect("a transformer");
    for case in golden.config["sample_cases"].as_array().expect("a list") {
        let key = case["key"].as_str().expect("a key");
        let number = |name: &str| case[name].as_f64().expect("a number");
        let x_t = golden.tensor::<4>(&format!("{key}.x_T"), &device);
        let [batch, frames, tokens, channels] = x_t.dims();
        assert_eq!(frames as f64, number("total_frames"));
        let sampler = model
            .diffusion()
            .sampler(
                SamplerConfig {
                    steps: number("steps") as usize,
                    ar_step: number("ar_step") as usize,
                    eta: number("eta"),
                },
                frames,
                transformer.dit().config().num_frames,
            )
            .expect("a complete plan");
        let context = transformer
            .sampling_context(None, batch, number("guidance"))
            .expect("an unconditional model");
        let noise = GivenNoise {
            start: x_t,
            steps: HostNoise::new(0, [batch, tokens, channels], &device),
        };
        let expected = golden.tensor::<4>(&format!("{key}.latents"), &device);
        // The second run evaluates only active frames if the network allows it.
        for run in [
            sampler.run(transformer, &noise, context.clone()),
            transformer.sample(&sampler, &noise, context),
        ] {
            let frames: Vec<Tensor<4>> = run
                .flat_map(|iteration| iteration.finished)
                .map(|frame| frame.latent)
                .collect();
            assert_close(key, Tensor::cat(frames, 1), expected.clone(), SAMPLING);
        }
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
    dit_rope_qknorm_eps
    dit_temporal_causal_x0
}

#[test]
fn a_checkpoint_survives_save_and_load() {
    let golden = Golden::open("tests/golden/dit_rope_qknorm_eps");
    let device = Device::flex();
    let folder = tempfile::tempdir().expect("a folder");
    load(&golden, &device)
        .save(folder.path(), ar_model::Precision::Full)
        .expect("a saved model");

    let keys = |path: &std::path::Path| {
        let bytes = std::fs::read(path).expect("a file");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        let mut keys: Vec<(String, Vec<u8>)> = tensors
            .iter()
            .map(|(key, view)| (key.to_owned(), view.data().to_vec()))
            .collect();
        keys.sort();
        keys
    };
    let saved = keys(&folder.path().join("transformer.safetensors"));
    // Everything except the recomputed buffers is saved with the same key, bit for bit.
    let published: Vec<_> = keys(&golden.folder.join("model.safetensors"))
        .into_iter()
        .filter(|(key, _)| {
            (key.starts_with("diffusion_model.model.") && !key.ends_with("rotary_emb.freqs"))
                || key == "context_emb"
        })
        .collect();
    assert_eq!(saved.len(), published.len());
    assert!(saved == published);
}

/// The error of an import with `config`.
fn refused(weights: &Path, config: ModelConfig) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let options = ImportOptions {
        transformer: Some(weights.to_owned()),
        config: Some(config),
        ..ImportOptions::default()
    };
    let error = ar_model::import(&options, folder.path()).expect_err("a refusal");
    let left = std::fs::read_dir(folder.path()).expect("a list").count();
    assert_eq!(left, 0, "something was written");
    error.to_string()
}

#[test]
fn misfits_are_named() {
    let golden = Golden::open("tests/golden/dit_temporal_causal_x0");
    let weights = golden.folder.join("model.safetensors");
    let refused = |config| refused(&weights, config);
    let message = |change: &dyn Fn(&mut DitConfig)| {
        let mut config = config(&golden);
        change(config.transformer.as_mut().expect("a transformer"));
        refused(config)
    };
    let deeper = message(&|config| config.depth = 4);
    assert!(deeper.contains("missing: "), "{deeper}");
    assert!(
        deeper.contains("diffusion_model.model.blocks.3."),
        "{deeper}"
    );
    let shallower = message(&|config| config.depth = 2);
    assert!(
        shallower.contains("not part of the network: diffusion_model.model.blocks.2."),
        "{shallower}"
    );
    let wider = message(&|config| config.in_channels = 8);
    assert!(
        wider.contains("diffusion_model.model.x_embedder.weight has shape"),
        "{wider}"
    );
    let normed = message(&|config| config.qk_norm = true);
    assert!(normed.contains("attn.q_norm.weight"), "{normed}");
    let conditional = {
        let mut config = config(&golden);
        config.conditioning = ConditioningConfig {
            classes: 3,
            ..config.conditioning
        };
        refused(config)
    };
    assert!(conditional.contains("class_emb"), "{conditional}");
    assert!(conditional.contains("context_emb"), "{conditional}");
}

#[test]
fn damaged_files_are_errors() {
    let golden = Golden::open("tests/golden/dit_temporal_causal_x0");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(golden.folder.join("model.safetensors")).expect("a file");
    for (what, bytes) in [
        ("empty", &whole[..0]),
        ("a torn header", &whole[..100]),
        ("a torn body", &whole[..whole.len() / 2]),
        ("text", b"not a checkpoint at all".as_slice()),
    ] {
        std::fs::write(&path, bytes).expect("a file");
        let error = refused(&path, config(&golden));
        assert!(
            error.contains("not a readable safetensors"),
            "{what}: {error}"
        );
    }
    let missing = folder.path().join("nowhere.safetensors");
    let error = refused(&missing, config(&golden));
    assert!(error.contains("nowhere.safetensors"), "{error}");
}
