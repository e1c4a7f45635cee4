//! Configurations to start from, with comments.

use crate::error::ConfigError;

/// A configuration to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The stage that it configures, a subcommand of `ar-train`.
    pub stage: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// The configuration, in TOML.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal, $stage:literal, $file:literal, $about:literal;)*) => {
        &[$(Preset {
            name: $name,
            stage: $stage,
            about: $about,
            text: include_str!(concat!("../configs/", $file)),
        }),*]
    };
}

/// All presets.
pub const PRESETS: &[Preset] = presets![
    "vae", "vae", "reference/vae.toml", "every key of the stage, with its default";
    "vae-temporal", "vae", "reference/vae-temporal.toml", "the temporal stage, after the image stage";
    "latents", "latents", "reference/latents.toml", "every key of the stage, with its default";
    "diffusion", "diffusion", "reference/diffusion.toml", "every key of the stage, with its default";
    "shapes-vae", "vae", "shapes/vae.toml", "bouncing shapes at 64 x 64: the tokenizer";
    "shapes-latents", "latents", "shapes/latents.toml", "bouncing shapes at 64 x 64: 16-frame clips";
    "shapes-diffusion", "diffusion", "shapes/diffusion.toml", "bouncing shapes at 64 x 64: the transformer";
    "shapes-fine-tune", "diffusion", "shapes/fine-tune.toml", "bouncing shapes at 64 x 64: fine-tuning of the built-in model";
    "shapes-planned", "diffusion", "shapes/planned.toml", "bouncing shapes at 64 x 64: fine-tuning of the built-in model with the planned sampler";
    "videos-vae", "vae", "videos/vae.toml", "your videos at 64 x 64: the tokenizer";
    "videos-latents", "latents", "videos/latents.toml", "your videos at 64 x 64: 16-frame clips";
    "videos-diffusion", "diffusion", "videos/diffusion.toml", "your videos at 64 x 64: the transformer";
    "moving-mnist-vae", "vae", "moving-mnist/vae.toml", "moving digits at 64 x 64: the tokenizer";
    "moving-mnist-latents", "latents", "moving-mnist/latents.toml", "moving digits at 64 x 64: 16-frame clips";
    "moving-mnist-diffusion", "diffusion", "moving-mnist/diffusion.toml", "moving digits at 64 x 64: the transformer";
    "ucf101-vae", "vae", "ucf101/vae.toml", "UCF-101 at 256 x 256: the tokenizer";
    "ucf101-vae-temporal", "vae", "ucf101/vae-temporal.toml", "UCF-101 at 256 x 256: the tokenizer's temporal blocks";
    "ucf101-latents", "latents", "ucf101/latents.toml", "UCF-101 at 256 x 256: 16-frame clips";
    "ucf101-diffusion", "diffusion", "ucf101/diffusion.toml", "UCF-101 at 256 x 256: the published transformer";
    "ucf101-fine-tune", "diffusion", "ucf101/fine-tune.toml", "UCF-101 at 256 x 256: fine-tuning of the published transformer";
    "ucf101-unconditional", "diffusion", "ucf101/unconditional.toml", "UCF-101 at 256 x 256: fine-tuning to a transformer without classes";
    "sky-timelapse-vae", "vae", "sky-timelapse/vae.toml", "Sky-Timelapse at 256 x 256: the tokenizer";
    "sky-timelapse-vae-temporal", "vae", "sky-timelapse/vae-temporal.toml", "Sky-Timelapse at 256 x 256: the tokenizer's temporal blocks";
    "sky-timelapse-latents", "latents", "sky-timelapse/latents.toml", "Sky-Timelapse at 256 x 256: 16-frame clips";
    "sky-timelapse-diffusion", "diffusion", "sky-timelapse/diffusion.toml", "Sky-Timelapse at 256 x 256: the published transformer";
    "sky-timelapse-fine-tune", "diffusion", "sky-timelapse/fine-tune.toml", "Sky-Timelapse at 256 x 256: fine-tuning of the published transformer";
    "taichi-hd-vae", "vae", "taichi-hd/vae.toml", "Taichi-HD at 256 x 256: the tokenizer";
    "taichi-hd-vae-temporal", "vae", "taichi-hd/vae-temporal.toml", "Taichi-HD at 256 x 256: the tokenizer's temporal blocks";
    "taichi-hd-latents", "latents", "taichi-hd/latents.toml", "Taichi-HD at 256 x 256: 16-frame clips";
    "taichi-hd-diffusion", "diffusion", "taichi-hd/diffusion.toml", "Taichi-HD at 256 x 256: the published transformer";
    "taichi-hd-fine-tune", "diffusion", "taichi-hd/fine-tune.toml", "Taichi-HD at 256 x 256: fine-tuning of the published transformer";
    "faceforensics-vae", "vae", "faceforensics/vae.toml", "FaceForensics at 256 x 256: the tokenizer";
    "faceforensics-vae-temporal", "vae", "faceforensics/vae-temporal.toml", "FaceForensics at 256 x 256: the tokenizer's temporal blocks";
    "faceforensics-latents", "latents", "faceforensics/latents.toml", "FaceForensics at 256 x 256: 16-frame clips";
    "faceforensics-diffusion", "diffusion", "faceforensics/diffusion.toml", "FaceForensics at 256 x 256: the published transformer";
    "faceforensics-fine-tune", "diffusion", "faceforensics/fine-tune.toml", "FaceForensics at 256 x 256: fine-tuning of the published transformer";
];

/// The preset called `name`.
///
/// # Errors
/// If there is none; the message lists the presets.
pub fn preset(name: &str) -> Result<&'static Preset, ConfigError> {
    let found = PRESETS.iter().find(|preset| preset.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        ConfigError::without_key(format!(
            "there is no preset '{name}'; there are {}",
            names.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ar_data::{DataConfig, DataSource, Labels, ShapesConfig, VideoFolderConfig};
    use ar_vae::VaeConfig;

    use super::*;
    use crate::config::{
        CheckSizes, DiffusionRun, LatentsRun, LpipsWeights, VaeRun, VaeStage, WeightsLocation,
        read_config,
    };

    const DATA_OF_CLIPS: [&str; 4] = [
        "data.clips",
        "data.first_seed",
        "data.flip",
        "data.one_per_video",
    ];

    #[test]
    fn every_preset_is_a_configuration_of_its_stage() {
        for preset in PRESETS {
            let read = match preset.stage {
                "vae" => read_config::<VaeRun>(preset.text, &[]).and_then(|c| c.check_sizes()),
                "latents" => {
                    read_config::<LatentsRun>(preset.text, &[]).and_then(|c| c.check_sizes())
                }
                _ => read_config::<DiffusionRun>(preset.text, &[]).and_then(|c| c.check_sizes()),
            };
            read.unwrap_or_else(|error| panic!("{}: {error:#}", preset.name));
        }
        let error = preset("shape").expect_err("no such preset").to_string();
        assert!(error.contains("shapes-vae"), "{error}");
    }

    #[test]
    fn the_references_state_the_defaults() {
        let text = preset("vae").expect("a preset").text;
        let mut vae: VaeRun = read_config(text, &[]).expect("a configuration");
        assert_eq!(vae.discriminator.take(), Some(Default::default()));
        let shapes = ShapesConfig {
            size: vae.vae.image_size(),
            frames: 1,
            ..Default::default()
        };
        assert_eq!(vae.data.source.take(), Some(DataSource::Shapes(shapes)));
        assert_eq!(vae, VaeRun::default());
        let text = preset("latents").expect("a preset").text;
        let mut latents: LatentsRun = read_config(text, &[]).expect("a configuration");
        let videos = DataSource::Videos {
            path: None,
            config: VideoFolderConfig {
                size: vae.vae.image_size(),
                ..Default::default()
            },
        };
        assert_eq!(latents.data.source.take(), Some(videos));
        assert_eq!(latents, LatentsRun::default());
        let text = preset("diffusion").expect("a preset").text;
        let diffusion: DiffusionRun = read_config(text, &[]).expect("a configuration");
        assert_eq!(diffusion, DiffusionRun::default());
    }

    #[test]
    fn the_temporal_reference_goes_on_from_the_reference() {
        let read = |name| read_config::<VaeRun>(preset(name).expect("a preset").text, &[]);
        let image = read("vae").expect("a configuration");
        let temporal = read("vae-temporal").expect("a configuration");
        assert_eq!(temporal.stage, VaeStage::Temporal);
        assert_eq!(temporal.start_from, Some(image.run.out.join("model")));
        assert_eq!(temporal.discriminator, None);
        assert_eq!(temporal.loss, image.loss);
        let (VaeConfig::Transformer(mut image), VaeConfig::Transformer(temporal)) =
            (image.vae, temporal.vae)
        else {
            panic!("transformers");
        };
        image.temporal = true;
        assert_eq!(temporal, image);
    }

    /// The text with its commented keys and sections: those without a default, and those that
    /// exclude others.
    fn uncommented(text: &str) -> String {
        let is_toml = |line: &str| {
            let is_key = |key: &str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| is_key(key))
        };
        let line = |line| match str::strip_prefix(line, "# ") {
            Some(toml) if is_toml(toml) => toml,
            _ => line,
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn keys(table: &toml::Table) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (key, value) in table {
            found.insert(key.clone());
            if let toml::Value::Table(table) = value {
                found.extend(keys(table).iter().map(|sub| format!("{key}.{sub}")));
            }
        }
        found
    }

    /// Every kind of source with all its keys.
    fn sources() -> Vec<DataConfig> {
        let of = |source, labels| DataConfig {
            source: Some(source),
            labels,
            ..Default::default()
        };
        let videos = DataSource::Videos {
            path: Some("FOLDER".into()),
            config: VideoFolderConfig {
                skip: Some(1),
                ..Default::default()
            },
        };
        vec![
            of(DataSource::Shapes(Default::default()), None),
            of(DataSource::MovingMnist(Default::default()), None),
            of(videos, Some(Labels::Folders)),
        ]
    }

    fn table(config: impl serde::Serialize) -> toml::Table {
        toml::Table::try_from(config).expect("a table")
    }

    #[test]
    fn the_references_have_every_key() {
        let mut vae = VaeRun {
            start_from: Some("FOLDER".into()),
            discriminator: Some(Default::default()),
            ..Default::default()
        };
        vae.loss.lpips_weights = Some(LpipsWeights {
            vgg: WeightsLocation::Local("FILE".into()),
            linear: WeightsLocation::Local("FILE".into()),
        });
        let mut diffusion = DiffusionRun::default();
        diffusion.data.source = Some(DataSource::Latents("FOLDER".into()));
        diffusion.data.labels = Some(Labels::Folders);

        let of_clips = |config: &dyn Fn(DataConfig) -> toml::Table| {
            let tables = sources().into_iter().map(config);
            tables.map(|table| keys(&table)).reduce(|a, b| &a | &b)
        };
        let vae = of_clips(&|data| {
            table(VaeRun {
                data,
                ..vae.clone()
            })
        });
        let latents = of_clips(&|data| {
            table(LatentsRun {
                data,
                ..Default::default()
            })
        });
        for (name, config) in [
            ("vae", vae.expect("sources")),
            ("latents", latents.expect("sources")),
            ("diffusion", keys(&table(diffusion))),
        ] {
            let text = uncommented(preset(name).expect("a preset").text);
            let reference: toml::Table = text.parse().unwrap_or_else(|error| {
                panic!("{name}: {error}");
            });
            let mut missing = &config - &keys(&reference);
            // The keys of [optimizer], as the reference says.
            missing.retain(|key| !key.starts_with("discriminator.optimizer."));
            // Clips are drawn, cut and mirrored before they are encoded.
            if name == "diffusion" {
                missing.retain(|key| !DATA_OF_CLIPS.contains(&key.as_str()));
            }
            assert!(missing.is_empty(), "{name}: {missing:?}");
            // A commented key is a key, too, with any of the sources.
            const SOURCES: [&[&str]; 4] = [
                &["shapes"],
                &["moving_mnist"],
                &["videos", "path", "list", "labels"],
                &["latents", "labels"],
            ];
            let mut read = 0;
            for kept in SOURCES {
                let mut reference = reference.clone();
                let data = reference["data"].as_table_mut().expect("a section");
                if !data.contains_key(kept[0]) {
                    continue;
                }
                data.retain(|key, _| kept.contains(&key) || !SOURCES.concat().contains(&key));
                let text = reference.to_string();
                let unknown = match name {
                    "vae" => read_config::<VaeRun>(&text, &[]).err(),
                    "latents" => read_config::<LatentsRun>(&text, &[]).err(),
                    _ => read_config::<DiffusionRun>(&text, &[]).err(),
                };
                assert!(unknown.is_none(), "{name}: {unknown:?}");
                read += 1;
            }
            assert_eq!(read, if name == "diffusion" { 1 } else { 3 }, "{name}");
        }
    }
}
