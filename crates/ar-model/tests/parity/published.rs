//! Import without a configuration: `tests/published` lists the tensors of the published files, one
//! per line, with `{0..24}` for the numbers from 0 to 23.

use ar_golden::{Golden, assert_close};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ar_diffusion::{GivenNoise, HostNoise, SamplerConfig};
use ar_dit::DitConfig;
use ar_model::{
    ClassRows, ConditioningConfig, ImportOptions, ModelConfig, Precision, TRANSFORMER_KEYS,
    Transformer, VAE_KEYS, VideoModel,
};
use ar_vae::{ArVaeConfig, PixelDecoderConfig, VaeConfig};
use ar_weights::{Checkpoint, WeightsSource, file_shapes};
use burn::tensor::{Device, Tensor};

use crate::SAMPLING;

type Shapes = BTreeMap<String, Vec<usize>>;

/// The tensors of a published file.
fn listed(name: &str) -> Shapes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/published")
        .join(format!("{name}.txt"));
    let text = std::fs::read_to_string(path).expect("a list");
    let mut shapes = Shapes::new();
    for line in text.lines() {
        let (key, shape) = line.split_once(' ').expect("a key and a shape");
        let shape: Vec<usize> = shape
            .split('x')
            .map(|size| size.parse().expect("a size"))
            .collect();
        match key.split_once('{') {
            None => {
                shapes.insert(key.to_owned(), shape);
            }
            Some((start, rest)) => {
                let (range, end) = rest.split_once('}').expect("a range");
                let count: usize = range["0..".len()..].parse().expect("a number");
                for number in 0..count {
                    shapes.insert(format!("{start}{number}{end}"), shape.clone());
                }
            }
        }
    }
    shapes
}

#[test]
fn the_networks_have_the_tensors_of_the_published_files() {
    let device = Device::flex();
    for (name, temporal, count) in [("vae", false, 692), ("vae-temporal", true, 1076)] {
        let config = ArVaeConfig {
            temporal,
            ..ArVaeConfig::large()
        };
        let vae = VaeConfig::Transformer(config)
            .init(&device)
            .expect("a network");
        let shapes = file_shapes(&vae, VAE_KEYS);
        assert_eq!(shapes.len(), count);
        assert_eq!(shapes, listed(name), "{name}");
    }
    for (name, classes) in [("diffusion", 0), ("diffusion-class", 101)] {
        let conditioning = ConditioningConfig {
            classes,
            ..ConditioningConfig::default()
        };
        let network = Transformer::new(&DitConfig::published(), &conditioning, &device);
        let shapes = file_shapes(&network.expect("a network"), TRANSFORMER_KEYS);
        let mut listed = listed(name);
        assert_eq!(listed.len(), 305);
        listed.retain(|key, _| {
            key.ends_with("_emb")
                || (key.starts_with("diffusion_model.model.") && !key.ends_with("pos_embed"))
        });
        assert_eq!(shapes, listed, "{name}");
    }
}

/// Small networks of the published kind.
fn small_vae(temporal: bool) -> ArVaeConfig {
    ArVaeConfig {
        image_size: 16,
        patch_size: 4,
        width: 64,
        layers: 2,
        heads: 1,
        latent_tokens: 5,
        codebook_channels: 16,
        temporal,
        pixel_decoder: PixelDecoderConfig {
            hidden_channels: 32,
            channel_multipliers: vec![1, 2, 3],
            res_blocks: 1,
            z_channels: 8,
            ..PixelDecoderConfig::default()
        },
        ..ArVaeConfig::default()
    }
}

fn golden_class() -> PathBuf {
    Golden::open("tests/golden/dit_class")
        .folder
        .join("model.safetensors")
}

/// Writes a VAE of ours and returns its file.
fn save_vae(folder: &Path, config: &ArVaeConfig) -> PathBuf {
    let config = ModelConfig {
        vae: Some(VaeConfig::Transformer(config.clone())),
        ..ModelConfig::default()
    };
    let model = VideoModel::init(config, &Device::flex()).expect("a model");
    let folder = folder.join("vae");
    model.save(&folder, Precision::Full).expect("saved");
    folder.join("vae.safetensors")
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(WeightsSource::File(path)).expect("a checkpoint")
}

/// A class-conditional model and its VAE in one file, as published.
fn both_in_one_file(folder: &Path) -> PathBuf {
    let vae = open(&save_vae(&folder.join("vae"), &small_vae(false)));
    let mut both = open(&golden_class());
    for (key, shape) in vae.shapes() {
        let values = vae.values(&key).expect("readable").expect("there");
        both.insert(format!("vae.{key}"), shape, values);
    }
    let path = folder.join("both.safetensors");
    both.save(&path, Precision::Full).expect("saved");
    path
}

fn import(options: &ImportOptions, out: &Path) -> ModelConfig {
    ar_model::import(options, out).expect("imported").config
}

#[test]
fn sizes_are_read_off_the_tensors() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model");
    let both = both_in_one_file(folder.path());
    let options = ImportOptions {
        transformer: Some(both.clone()),
        frames: Some(4),
        heads: Some(4),
        ..ImportOptions::default()
    };
    let found = ar_model::import(&options, &out).expect("imported");
    let text = found.to_string();
    for part in [
        "2 layers of width 48, 4 heads; 4 frames of 5 tokens of 4 channels; 3 classes",
        "16 x 16 pixels, 5 tokens of 4 channels; 2 layers of width 64, 1 heads, patches of 4, \
         without temporal blocks; from the transformer's file",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let config = found.config;
    assert_eq!(config.vae, Some(VaeConfig::Transformer(small_vae(false))));
    let dit = config.transformer.clone().expect("a transformer");
    assert_eq!(
        dit,
        DitConfig {
            num_frames: 4,
            tokens_per_frame: 5,
            hidden_size: 48,
            depth: 2,
            num_heads: 4,
            ..DitConfig::published()
        }
    );
    assert_eq!(config.conditioning.class_rows, ClassRows::Published);
    assert!(!config.conditioning.trainable);
    assert_eq!(config.conditioning.classes, 3);
    assert_eq!(config.conditioning.class_names, Vec::<String>::new());

    // Exactly the tensors of the file are written.
    let written = open(&out.join("transformer.safetensors"));
    let golden = open(&golden_class());
    assert!(written.shape("diffusion_model.betas").is_none());
    assert!(written.shape("diffusion_model.model.pos_embed").is_none());
    for key in written.keys() {
        assert_eq!(
            written.values(key).expect("readable"),
            golden.values(key).expect("readable"),
            "{key}"
        );
    }
    let model = VideoModel::load(&out, &Device::flex()).expect("a model");
    assert_eq!(*model.config(), config);

    // The same at half the size: values are rounded in the new file.
    let half = folder.path().join("half");
    let options = ImportOptions {
        precision: Precision::Half,
        ..options
    };
    assert_eq!(import(&options, &half), config);
    let size = |path: &Path| std::fs::metadata(path).expect("a file").len() as f64;
    for file in ["transformer.safetensors", "vae.safetensors"] {
        let ratio = size(&half.join(file)) / size(&out.join(file));
        assert!((0.48..0.6).contains(&ratio), "{file}: {ratio}");
    }
    let key = "diffusion_model.model.x_embedder.weight";
    let of = |path: &Path| {
        let file = open(&path.join("transformer.safetensors"));
        file.values(key).expect("readable").expect("there")
    };
    for (half, full) in of(&half).iter().zip(of(&out)) {
        assert!((half - full).abs() <= full.abs() / 2048.0 + 1e-7);
    }

    let temporal = folder.path().join("temporal");
    let options = ImportOptions {
        vae: Some(save_vae(&temporal, &small_vae(true))),
        ..ImportOptions::default()
    };
    let config = import(&options, &out);
    assert_eq!(config.vae, Some(VaeConfig::Transformer(small_vae(true))));
    assert_eq!(config.transformer, None);
}

#[test]
fn class_models_sample_as_the_reference_does() {
    let golden = Golden::open("tests/golden/dit_class");
    let device = Device::flex();
    let folder = tempfile::tempdir().expect("a folder");
    // Without a VAE, the published number of tokens per frame is assumed; five need their VAE.
    let vae = save_vae(&folder.path().join("vae"), &small_vae(false));
    let out = folder.path().join("model");
    let options = ImportOptions {
        transformer: Some(golden_class()),
        vae: Some(vae),
        frames: Some(4),
        heads: Some(4),
        ..ImportOptions::default()
    };
    let published = import(&options, &out);
    let ours = folder.path().join("ours");
    let mut config = published.clone();
    config.conditioning.class_rows = ClassRows::AfterNull;
    let options = ImportOptions {
        config: Some(config),
        frames: None,
        heads: None,
        ..options
    };
    import(&options, &ours);

    let rows: Vec<usize> = golden
        .integers("class_id")
        .iter()
        .map(|&row| row as usize)
        .collect();
    assert_eq!(rows, [1, 2, 3]);
    // A class reads the row of its own number, and the last row is never read. Our models read the
    // next row.
    let after_null: Vec<usize> = rows.iter().map(|row| row - 1).collect();
    for (model, classes) in [(&out, &rows[..2]), (&ours, &after_null[..])] {
        let model = VideoModel::load(model, &device).expect("a model");
        let transformer = model.transformer().expect("a transformer");
        let count = classes.len();
        let part = |name: &str| golden.tensor::<4>(name, &device).narrow(0, 0, count);
        let [_, frames, tokens, channels] = part("x_T").dims();
        let config = SamplerConfig {
            steps: golden.size("steps"),
            ar_step: golden.size("ar_step"),
            eta: 0.0,
        };
        let sampler = model.config().sampler(config, frames).expect("a plan");
        for (guidance, expected) in [(2.0, "latents"), (1.0, "latents_no_guidance")] {
            let context = transformer.context_of_classes(classes, guidance);
            let noise = GivenNoise {
                start: part("x_T"),
                steps: HostNoise::new(0, [count, tokens, channels], &device),
            };
            let finished: Vec<Tensor<4>> = transformer
                .sample(&sampler, &noise, context.expect("known classes"))
                .flat_map(|iteration| iteration.finished)
                .map(|frame| frame.latent)
                .collect();
            assert_close(expected, Tensor::cat(finished, 1), part(expected), SAMPLING);
        }
    }
}

#[test]
fn a_table_of_102_rows_is_of_ucf101() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = open(&golden_class());
    let [tokens, width] = [77, 768];
    file.insert(
        "class_emb",
        vec![102, tokens, width],
        vec![0.0; 102 * tokens * width],
    );
    let path = folder.path().join("ucf.safetensors");
    file.save(&path, Precision::Half).expect("saved");
    let options = ImportOptions {
        transformer: Some(path),
        vae: Some(save_vae(folder.path(), &small_vae(false))),
        frames: Some(4),
        heads: Some(4),
        precision: Precision::Half,
        ..ImportOptions::default()
    };
    let config = import(&options, &folder.path().join("model"));
    // Models with classes were sampled without guidance.
    assert_eq!(config.sampling.guidance, 1.0);
    let conditioning = config.conditioning;
    assert_eq!(conditioning.classes, 101);
    for (class, name) in [(0, "ApplyEyeMakeup"), (22, "CricketBowling"), (100, "YoYo")] {
        assert_eq!(conditioning.class(name).expect("a class"), class);
    }
}

#[test]
fn what_is_no_published_checkpoint_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model");
    let vae = save_vae(folder.path(), &small_vae(false));
    let refused = |options: &ImportOptions| {
        let error = ar_model::import(options, &out).expect_err("a refusal");
        assert!(!out.exists(), "something was written");
        error.to_string()
    };
    let of = |transformer: Option<PathBuf>, vae: Option<PathBuf>| ImportOptions {
        transformer,
        vae,
        frames: Some(4),
        heads: Some(4),
        ..ImportOptions::default()
    };
    let count = Cell::new(0);
    let changed = |path: &Path, change: &dyn Fn(&mut Checkpoint)| {
        let mut file = open(path);
        change(&mut file);
        count.set(count.get() + 1);
        let path = folder
            .path()
            .join(format!("changed-{}.safetensors", count.get()));
        file.save(&path, Precision::Full).expect("saved");
        path
    };
    let golden = golden_class();
    let wider = ArVaeConfig {
        latent_channels: 8,
        ..small_vae(false)
    };
    let wider = save_vae(&folder.path().join("wider"), &wider);
    let more = ArVaeConfig {
        latent_tokens: 6,
        ..small_vae(false)
    };
    let more = save_vae(&folder.path().join("more"), &more);
    let titok = changed(&vae, &|file| {
        file.retain(|key| !key.starts_with("pixel_quantize_conv"));
        file.insert("pixel_quantize.embedding.weight", vec![2, 2], vec![0.0; 4]);
    });
    let message = refused(&of(None, Some(titok.clone())));
    assert!(
        message.contains("start_from of `ar-train vae`"),
        "{message}"
    );

    for (options, parts) in [
        (
            of(Some(vae.clone()), None),
            &["x_embedder.weight", "this is an AR-VAE: give it as --vae"][..],
        ),
        (
            of(None, Some(golden.clone())),
            &[
                "encoder.patch_embed.weight",
                "this is a diffusion transformer: give it as --transformer",
            ],
        ),
        (
            of(Some(golden.clone()), Some(wider)),
            &[
                "x_embedder.weight has shape [48, 4]",
                "decoder_embed.weight has shape [64, 8]",
                "give the VAE that",
            ],
        ),
        (
            of(Some(golden.clone()), Some(more)),
            &[
                "pos_embed has shape [1, 20, 48], 20 positions",
                "latent_tokens has shape [6, 64], 6 tokens a frame, which are 24 for the 4 frames of --frames",
                "give the VAE",
            ],
        ),
        (
            // Five frames of as many tokens, or four of five? The published 16 are neither.
            ImportOptions {
                frames: None,
                ..of(Some(golden.clone()), Some(vae.clone()))
            },
            &[
                "pos_embed has shape [1, 20, 48], 20 positions",
                "latent_tokens has shape [5, 64], 5 tokens a frame",
                "which are 80 for the 16 frames of published models",
                "or say --frames 4 if its clips have 4 frames",
            ],
        ),
        (
            ImportOptions {
                frames: None,
                ..of(Some(golden.clone()), None)
            },
            &[
                "20 positions",
                "set the number of frames in its clips with --frames",
            ],
        ),
        (
            of(
                Some(changed(&golden, &|file| {
                    file.retain(|key| key != "class_emb");
                })),
                None,
            ),
            &[
                "no tensor context_emb",
                "no class_emb",
                "give the whole checkpoint",
            ],
        ),
        (
            ImportOptions {
                heads: None,
                ..of(Some(golden.clone()), Some(vae.clone()))
            },
            &["width of 48", "--heads"],
        ),
        (
            of(
                Some(changed(&golden, &|file| {
                    file.insert(
                        "diffusion_model.model.blocks.1.mlp.fc2.bias",
                        vec![3],
                        vec![0.0; 3],
                    );
                })),
                Some(vae.clone()),
            ),
            &["blocks.1.mlp.fc2.bias has shape [3] and should have [48]"],
        ),
    ] {
        let message = refused(&options);
        assert!(!message.contains('\n'), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    // With a configuration, the number of classes may be wrong.
    let right = import(
        &of(Some(golden.clone()), Some(vae.clone())),
        &folder.path().join("right"),
    );
    let mut config = right.clone();
    config.conditioning.classes = 5;
    let message = refused(&ImportOptions {
        config: Some(config),
        frames: None,
        heads: None,
        ..of(Some(golden.clone()), Some(vae.clone()))
    });
    for part in [
        "class_emb has shape [4, 77, 768] and should have [6, 77, 768]: set conditioning.classes = 3",
        "without --config",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // If a file does not match the configuration, the message says what the file is.
    let described = |classes: usize, names: usize, transformer: &Path, vae: &Path| {
        let mut config = right.clone();
        config.conditioning.classes = classes;
        config.conditioning.class_names = vec!["name".into(); names];
        refused(&ImportOptions {
            config: Some(config),
            frames: None,
            heads: None,
            ..of(Some(transformer.to_owned()), Some(vae.to_owned()))
        })
    };
    for (message, part) in [
        (
            described(0, 0, &golden, &vae),
            "class_emb has shape [4, 77, 768] and should have context_emb of shape [77, 768] in its \
             place: set conditioning.classes = 3",
        ),
        (
            described(4, 3, &golden, &vae),
            "conditioning.class_names has 3 names, but conditioning.classes = 4",
        ),
        (
            described(3, 0, &vae, &golden),
            "this is an AR-VAE: give it as --vae",
        ),
        (
            described(3, 0, &golden, &golden),
            "this is a diffusion transformer: give it as --transformer",
        ),
        (
            described(3, 0, &golden, &titok),
            "this is an image tokenizer with a codebook: train a VAE from it",
        ),
    ] {
        assert!(
            message.contains(part) && !message.contains('\n'),
            "{part}: {message}"
        );
    }
    let whole = std::fs::read(&golden).expect("a file");
    let path = folder.path().join("short.safetensors");
    std::fs::write(&path, &whole[..whole.len() - 10]).expect("written");
    let message = refused(&of(Some(path), None));
    assert!(message.contains("it is cut short"), "{message}");
}
