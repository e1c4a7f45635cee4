//! Every committed configuration can be used.

use std::fs;
use std::path::{Path, PathBuf};

use ar_data::{DataSource, VideoList};
use ar_diffusion::DiffusionConfig;
use ar_dit::DitConfig;
use ar_model::{ClassRows, ConditioningConfig, LatentScale, ModelConfig};
use ar_pipeline::ModelSource;
use ar_schedulers::TimestepSampler;
use ar_train::config::{
    DiffusionRun, LatentsRun, LearningRateSchedule, LpipsRange, OptimizerConfig, RunConfig, VaeRun,
    VaeStage, read_config,
};
use ar_vae::{ArVaeConfig, VaeConfig};
use serde::de::DeserializeOwned;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

fn read<C: DeserializeOwned>(path: &Path) -> C {
    let text = fs::read_to_string(path).expect("a file");
    read_config(&text, &[]).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()))
}

/// The folder of latents that a diffusion stage reads.
fn latents_of(diffusion: &DiffusionRun) -> Option<&PathBuf> {
    match &diffusion.data.source {
        Some(DataSource::Latents(path)) => Some(path),
        _ => None,
    }
}

/// The three stages of a dataset.
fn stages(folder: &Path) -> (VaeRun, LatentsRun, DiffusionRun) {
    let file = |stage: &str| folder.join(format!("{stage}.toml"));
    (
        read(&file("vae")),
        read(&file("latents")),
        read(&file("diffusion")),
    )
}

#[test]
fn the_stages_of_a_dataset_fit_together() {
    let mut datasets = Vec::new();
    for entry in fs::read_dir(root()).expect("a list") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if !path.is_dir() {
            assert_eq!(name, "README.md", "{name} is read by no test");
            continue;
        }
        // Single stages with all their keys, which the presets' own tests read.
        if name == "reference" {
            continue;
        }
        // Without a tokenizer of its own.
        if name == "ablations" {
            continue;
        }
        let (vae, latents, diffusion) = stages(&path);
        assert_eq!(vae.name, name);
        assert_eq!(diffusion.name, name);
        vae.vae
            .validate()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let config = ModelConfig {
            diffusion: diffusion.diffusion.clone(),
            conditioning: diffusion.conditioning.clone(),
            transformer: Some(diffusion.transformer.clone()),
            vae: Some(vae.vae.clone()),
            ..ModelConfig::default()
        };
        config
            .validate()
            .unwrap_or_else(|error| panic!("{name}: {error}"));

        let temporal = path.join("vae-temporal.toml");
        if temporal.is_file() {
            after_the_image_stage(&vae, &read(&temporal), &latents);
        }
        // Published models were trained on latents of the VAE without temporal blocks.
        assert_eq!(vae.run.out.join("model"), latents.vae, "{name}");
        assert_eq!(latents.vae, diffusion.vae, "{name}");
        assert_eq!(Some(&latents.out), latents_of(&diffusion), "{name}");
        let sizes = |data: &ar_data::DataConfig| match data.source.as_ref().expect("a source") {
            DataSource::Shapes(config) => (config.size, config.frames),
            DataSource::MovingMnist(config) => (config.size, config.frames),
            DataSource::Videos { config, .. } => (config.size, config.frames),
            other => panic!("{other:?} is no dataset of clips"),
        };
        let size = vae.vae.image_size();
        assert_eq!(sizes(&vae.data), (size, 1), "{name}");
        let frames = diffusion.transformer.num_frames;
        assert_eq!(sizes(&latents.data), (size, frames), "{name}");
        datasets.push(name);
    }
    datasets.sort();
    assert_eq!(
        datasets,
        [
            "faceforensics",
            "moving-mnist",
            "shapes",
            "sky-timelapse",
            "taichi-hd",
            "ucf101",
            "videos"
        ]
    );
}

/// Checks that the temporal stage continues from the image stage, on the clips of the latents.
fn after_the_image_stage(image: &VaeRun, temporal: &VaeRun, latents: &LatentsRun) {
    let name = &image.name;
    assert_eq!(temporal.name, *name);
    assert_eq!(temporal.stage, VaeStage::Temporal, "{name}");
    assert_eq!(temporal.discriminator, None, "{name}");
    let start = temporal.start_from.as_ref().expect("the image stage");
    let of_image = [
        image.run.out.join("model"),
        image.run.out.join("checkpoints"),
    ];
    assert!(
        of_image.iter().any(|part| start.starts_with(part)),
        "{name}"
    );
    assert_eq!(temporal.loss, image.loss, "{name}");
    assert_eq!(temporal.data.list, latents.data.list, "{name}");
    assert_eq!(temporal.data.source, latents.data.source, "{name}");
    let (VaeConfig::Transformer(mut expected), VaeConfig::Transformer(found)) =
        (image.vae.clone(), temporal.vae.clone())
    else {
        panic!("{name}: not transformers");
    };
    expected.temporal = true;
    assert_eq!(found, expected, "{name}");
}

#[test]
fn ablations_are_of_the_world_that_the_model_in_the_box_knows() {
    let file = |name: &str| root().join("ablations").join(name);
    let latents: LatentsRun = read(&file("latents.toml"));
    let diffusion: DiffusionRun = read(&file("diffusion.toml"));
    assert_eq!(latents.vae, diffusion.vae);
    assert_eq!(Some(&latents.out), latents_of(&diffusion));
    assert_eq!(latents.data.validation, diffusion.data.validation);

    let (vae, model_latents, model) = stages(&root().join("shapes"));
    let transformer = &diffusion.transformer;
    assert_eq!(
        vae.vae.latents(),
        [transformer.tokens_per_frame, transformer.in_channels]
    );
    let [world, larger] = [latents.data, model_latents.data].map(|data| {
        let seeds = data.first_seed..data.first_seed + data.clips as u64;
        let Some(DataSource::Shapes(world)) = data.source else {
            panic!("a world");
        };
        (world, seeds)
    });
    assert_eq!(world.0.frames, transformer.num_frames);
    assert_eq!(world.0.size, larger.0.size);
    assert!(world.0.max_shapes <= larger.0.max_shapes);
    // Nobody is measured on what the other was trained on.
    assert!(world.1.start >= larger.1.end, "{world:?} {larger:?}");
    assert_eq!(model.timestep_sampler, diffusion.timestep_sampler);
}

/// How the published model of a dataset was trained: a column of the published settings.
struct Published {
    name: &'static str,
    /// Learning rate of the VAE and its discriminator, and the discriminator's first step.
    vae: (f64, usize),
    /// Learning rate of the transformer, clipping norm of its gradients, and batches per step.
    diffusion: (f64, f64, usize),
    /// Frames from the start of a clip to the start of the next.
    skip: usize,
    /// The videos of the training split.
    list: Option<VideoList>,
    classes: usize,
    /// Guidance for sampling 16 frames.
    guidance: f64,
}

fn published() -> [Published; 4] {
    let names = |name: &str| Some(VideoList::Names(vec![name.into()]));
    [
        Published {
            name: "sky-timelapse",
            vae: (2e-4, 100_000),
            diffusion: (2e-4, 1.0, 6),
            skip: 1,
            list: names("sky_train"),
            classes: 0,
            guidance: 2.0,
        },
        Published {
            name: "taichi-hd",
            vae: (1e-4, 50_000),
            diffusion: (2e-4, 1.0, 6),
            skip: 64,
            list: names("train"),
            classes: 0,
            guidance: 2.0,
        },
        Published {
            name: "ucf101",
            vae: (2e-4, 100_000),
            diffusion: (1e-4, 0.1, 6),
            skip: 128,
            list: Some(VideoList::File("trainlist03.txt".into())),
            classes: 101,
            guidance: 1.0,
        },
        Published {
            name: "faceforensics",
            vae: (1e-4, 50_000),
            diffusion: (1e-4, 0.1, 3),
            skip: 16,
            list: None,
            classes: 0,
            guidance: 2.0,
        },
    ]
}

/// AdamW as in all published training: a constant learning rate without warm-up.
fn optimizer(learning_rate: f64, clip_norm: f64) -> OptimizerConfig {
    OptimizerConfig {
        learning_rate,
        warmup_steps: 0,
        schedule: LearningRateSchedule::Constant,
        weight_decay: 1e-4,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        clip_norm,
        ema_decay: 0.9999,
        ..OptimizerConfig::default()
    }
}

/// Batch size, batches per step, and steps.
fn size(run: &RunConfig) -> (usize, usize, usize) {
    (run.batch_size, run.accumulate, run.steps)
}

#[test]
fn tokenizers_are_trained_as_published() {
    for published in published() {
        let name = published.name;
        let (rate, start_step) = published.vae;
        let vae: VaeRun = read(&root().join(name).join("vae.toml"));
        assert_eq!(size(&vae.run), (16, 2, 500_000), "{name}");
        assert_eq!(vae.optimizer, optimizer(rate, 1.0), "{name}");
        assert_eq!(vae.stage, VaeStage::Image, "{name}");
        assert_eq!(
            vae.vae,
            VaeConfig::Transformer(ArVaeConfig::large()),
            "{name}"
        );
        // Sums over the pixels of a frame.
        let sum = f64::from(3 * 256 * 256);
        let loss = &vae.loss;
        assert_eq!((loss.l1, loss.l2), (sum, 0.0), "{name}");
        assert_eq!((loss.lpips, loss.kl), (sum, 0.0), "{name}");
        assert_eq!(loss.foreground, 0.0, "{name}");
        assert_eq!(loss.lpips_range, LpipsRange::Unit, "{name}");
        assert!(loss.sample_posterior, "{name}");
        assert!(vae.data.one_per_video, "{name}");
        assert!(!vae.data.flip, "{name}");
        assert_eq!(vae.data.list, published.list, "{name}");
        let tokenizer = vae.start_from.as_ref().expect(name);
        assert!(tokenizer.ends_with("tokenizer_titok_l32.bin"), "{name}");
        let discriminator = vae.discriminator.expect(name);
        assert_eq!(discriminator.start_step, start_step, "{name}");
        assert!(discriminator.turns, "{name}");
        assert_eq!(discriminator.weight, 1.0, "{name}");
        // Without clipping.
        assert_eq!(discriminator.optimizer, optimizer(rate, 0.0), "{name}");
        assert_eq!((discriminator.filters, discriminator.layers), (64, 3));

        let temporal: VaeRun = read(&root().join(name).join("vae-temporal.toml"));
        assert_eq!(temporal.data.list, published.list, "{name}");
        assert_eq!(temporal.optimizer.learning_rate, 1e-6, "{name}");
        if name == "sky-timelapse" {
            // The only published temporal stage.
            assert_eq!(
                (temporal.run.batch_size, temporal.run.accumulate),
                (1, 4),
                "{name}"
            );
            assert_eq!(temporal.optimizer, optimizer(1e-6, 0.0), "{name}");
            let start = vae.run.out.join("checkpoints/step-00050000");
            assert_eq!(temporal.start_from, Some(start), "{name}");
            // The checkpoint that it starts from is kept.
            assert_eq!(50_000 % vae.run.checkpoint_every, 0, "{name}");
            assert_eq!(50_000 % vae.run.keep_every, 0, "{name}");
        }
    }
}

#[test]
fn transformers_are_trained_as_published() {
    for published in published() {
        let name = published.name;
        let (vae, latents, diffusion) = stages(&root().join(name));
        let temporal: VaeRun = read(&root().join(name).join("vae-temporal.toml"));
        assert_eq!(
            temporal.data.validation, diffusion.data.validation,
            "{name}"
        );
        assert_eq!(latents.data.list, published.list, "{name}");
        assert_eq!(
            latents.data.labels.is_some(),
            published.classes > 0,
            "{name}"
        );
        let Some(DataSource::Videos { config, .. }) = latents.data.source else {
            panic!("{name}: videos");
        };
        assert_eq!(config.skip, Some(published.skip), "{name}");
        let frames = diffusion.transformer.num_frames;
        assert_eq!((config.frames, frames), (16, 16), "{name}");
        // A video has at most this many frames for each of its clips.
        let validation = diffusion.data.validation * (published.skip + frames - 1);
        assert!(vae.data.validation >= validation, "{name}");

        let (rate, clip_norm, accumulate) = published.diffusion;
        assert_eq!(size(&diffusion.run), (16, accumulate, 100_000), "{name}");
        assert_eq!(diffusion.optimizer, optimizer(rate, clip_norm), "{name}");
        assert_eq!(diffusion.sampling.guidance, published.guidance, "{name}");

        let mut runs = vec![
            ("diffusion", published.classes),
            ("fine-tune", published.classes),
        ];
        if name == "ucf101" {
            runs.push(("unconditional", 0));
        }
        for (file, classes) in runs {
            let run: DiffusionRun = read(&root().join(name).join(format!("{file}.toml")));
            let file = format!("{name}/{file}");
            assert_eq!(run.timestep_sampler, TimestepSampler::Fopp, "{file}");
            assert_eq!(run.transformer, DitConfig::published(), "{file}");
            assert_eq!(run.diffusion, DiffusionConfig::default(), "{file}");
            assert_eq!(run.latent_scale, LatentScale::Off, "{file}");
            assert_eq!(run.short_clips, 0.0, "{file}");
            let loss = (run.loss.vlb, run.loss.last_frame_weight);
            assert_eq!(loss, (0.0, 1.0), "{file}");
            let class_rows = if classes > 0 {
                ClassRows::Published
            } else {
                ClassRows::AfterNull
            };
            let conditioning = ConditioningConfig {
                classes,
                class_rows,
                trainable: false,
                initial_deviation: 0.1,
                class_names: Vec::new(),
            };
            assert_eq!(run.conditioning, conditioning, "{file}");
            let sampling = (run.sampling.steps, run.sampling.ar_step);
            assert_eq!(sampling, (50, 5), "{file}");
            assert_eq!(run.sampling.guidance, published.guidance, "{file}");
            if file.ends_with("diffusion") {
                assert_eq!(run.start_from, None, "{file}");
                continue;
            }
            assert!(run.start_from.is_some(), "{file}");
            assert_eq!(size(&run.run), (16, 8, 50_000), "{file}");
            assert_eq!(run.optimizer, optimizer(1e-5, 1.0), "{file}");
        }
        if name == "taichi-hd" {
            // The checkpoint that the published model was fine-tuned from is kept.
            assert_eq!(40_000 % diffusion.run.checkpoint_every, 0, "{name}");
            assert_eq!(40_000 % diffusion.run.keep_every, 0, "{name}");
        }
    }
}

#[test]
fn the_model_in_the_box_can_be_fine_tuned() {
    let model = ModelSource::BuiltIn.config().expect("a configuration");
    for file in ["fine-tune", "planned"] {
        let run: DiffusionRun = read(&root().join(format!("shapes/{file}.toml")));
        assert_eq!(run.start_from.as_deref(), Some(Path::new("built-in")));
        assert_eq!(run.vae, Path::new("built-in"));
        assert_eq!(Some(run.transformer), model.transformer, "{file}");
        assert_eq!(run.diffusion, model.diffusion, "{file}");
    }
}
