//! Every committed configuration can be used.

use std::fs;
use std::path::{Path, PathBuf};

use ar_data::DataSource;
use ar_diffusion::DiffusionConfig;
use ar_dit::DitConfig;
use ar_model::{ClassRows, ConditioningConfig, ModelConfig};
use ar_pipeline::ModelSource;
use ar_train::config::{DiffusionRun, LatentsRun, LpipsRange, VaeRun, VaeStage, read_config};
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
        let last_vae = if temporal.is_file() {
            after_the_image_stage(&vae, &read(&temporal), &latents)
        } else {
            vae.run.out.clone()
        };
        assert_eq!(last_vae.join("model"), latents.vae, "{name}");
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

/// The folder of the temporal stage, which goes on from the image stage, on the clips of the latents.
fn after_the_image_stage(image: &VaeRun, temporal: &VaeRun, latents: &LatentsRun) -> PathBuf {
    let name = &image.name;
    assert_eq!(temporal.name, *name);
    assert_eq!(temporal.stage, VaeStage::Temporal, "{name}");
    assert_eq!(temporal.discriminator, None, "{name}");
    assert_eq!(
        temporal.start_from,
        Some(image.run.out.join("model")),
        "{name}"
    );
    assert_eq!(temporal.loss, image.loss, "{name}");
    assert_eq!(temporal.data.source, latents.data.source, "{name}");
    let (VaeConfig::Transformer(mut expected), VaeConfig::Transformer(found)) =
        (image.vae.clone(), temporal.vae.clone())
    else {
        panic!("{name}: not transformers");
    };
    expected.temporal = true;
    assert_eq!(found, expected, "{name}");
    temporal.run.out.clone()
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

#[test]
fn the_published_networks_are_those_of_the_published_datasets() {
    let published_vae = VaeConfig::Transformer(ArVaeConfig::large());
    // Of the VAE: learning rate and first step of the discriminator. Of the diffusion stage: distance
    // of clips, learning rate, norm that gradients are clipped to, and batches of a step.
    for (name, (vae_rate, start_step), (skip, learning_rate, clip_norm, accumulate)) in [
        ("ucf101", (2e-4, 100_000), (128, 1e-4, 0.1, 6)),
        ("sky-timelapse", (2e-4, 100_000), (1, 2e-4, 1.0, 6)),
        ("taichi-hd", (1e-4, 50_000), (64, 2e-4, 1.0, 6)),
        ("faceforensics", (1e-4, 50_000), (16, 1e-4, 0.1, 3)),
    ] {
        let (vae, latents, diffusion) = stages(&root().join(name));
        let frames = diffusion.transformer.num_frames;
        let Some(DataSource::Videos { config, .. }) = latents.data.source else {
            panic!("{name}: videos");
        };
        assert_eq!(config.skip, Some(skip), "{name}");
        // A video has at most so many frames for each of its clips.
        let validation = diffusion.data.validation * (skip + frames - 1);
        assert!(vae.data.validation >= validation, "{name}");

        assert_eq!((vae.run.batch_size, vae.run.accumulate), (16, 2), "{name}");
        assert_eq!(vae.run.steps, 500_000, "{name}");
        assert_eq!(vae.optimizer.learning_rate, vae_rate, "{name}");
        assert_eq!(vae.optimizer.clip_norm, 1.0, "{name}");
        // Sums over the pixels of a frame.
        let sum = f64::from(3 * 256 * 256);
        let loss = &vae.loss;
        assert_eq!((loss.l1, loss.l2), (sum, 0.0), "{name}");
        assert_eq!((loss.lpips, loss.kl), (sum, 0.0), "{name}");
        assert_eq!(loss.lpips_range, LpipsRange::Unit, "{name}");
        assert!(vae.data.one_per_video, "{name}");
        let tokenizer = vae.start_from.as_ref().expect(name);
        assert!(tokenizer.ends_with("tokenizer_titok_l32.bin"), "{name}");
        assert!(loss.sample_posterior, "{name}");
        let discriminator = vae.discriminator.expect(name);
        assert_eq!(discriminator.start_step, start_step, "{name}");
        assert!(discriminator.turns, "{name}");
        assert_eq!(discriminator.optimizer.learning_rate, vae_rate, "{name}");
        assert_eq!(discriminator.optimizer.clip_norm, 0.0, "{name}");
        assert_eq!((discriminator.filters, discriminator.layers), (64, 3));
        let temporal: VaeRun = read(&root().join(name).join("vae-temporal.toml"));
        assert_eq!(temporal.optimizer.learning_rate, 1e-6, "{name}");
        assert_eq!(
            temporal.data.validation, diffusion.data.validation,
            "{name}"
        );
        assert_eq!(vae.vae, published_vae, "{name}");

        assert_eq!(diffusion.run.steps, 100_000, "{name}");
        let batches = (diffusion.run.batch_size, diffusion.run.accumulate);
        assert_eq!(batches, (16, accumulate), "{name}");
        assert_eq!(diffusion.optimizer.ema_decay, 0.9999, "{name}");
        assert_eq!(diffusion.optimizer.weight_decay, 1e-4, "{name}");
        assert_eq!(diffusion.optimizer.learning_rate, learning_rate, "{name}");
        assert_eq!(diffusion.optimizer.clip_norm, clip_norm, "{name}");
        assert_eq!(diffusion.transformer, DitConfig::published(), "{name}");
        assert_eq!(diffusion.diffusion, DiffusionConfig::default(), "{name}");
        let classes = if name == "ucf101" { 101 } else { 0 };
        let conditioning = ConditioningConfig {
            classes,
            class_rows: if classes > 0 {
                ClassRows::Published
            } else {
                ClassRows::AfterNull
            },
            trainable: false,
            initial_deviation: 0.1,
            class_names: Vec::new(),
        };
        assert_eq!(diffusion.conditioning, conditioning, "{name}");
        assert_eq!(latents.data.labels.is_some(), classes > 0, "{name}");
        let guidance = if name == "ucf101" { 1.0 } else { 2.0 };
        assert_eq!(diffusion.sampling.guidance, guidance, "{name}");

        let mut fine_tuned = vec![("fine-tune", classes)];
        if name == "ucf101" {
            fine_tuned.push(("unconditional", 0));
        }
        for (file, classes) in fine_tuned {
            let run: DiffusionRun = read(&root().join(name).join(format!("{file}.toml")));
            assert!(run.start_from.is_some(), "{name}/{file}");
            assert_eq!(run.run.steps, 50_000, "{name}/{file}");
            assert_eq!((run.run.batch_size, run.run.accumulate), (16, 8));
            assert_eq!(run.optimizer.learning_rate, 1e-5, "{name}/{file}");
            assert_eq!(run.optimizer.clip_norm, 1.0, "{name}/{file}");
            assert_eq!(run.transformer, DitConfig::published(), "{name}/{file}");
            assert_eq!(run.conditioning.classes, classes, "{name}/{file}");
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
