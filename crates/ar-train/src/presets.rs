//! Configurations to start from, with comments.

use anyhow::{Context, Result};

/// A configuration to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The stage that it configures: the subcommand of `ar-train`.
    pub stage: &'static str,
    /// What it is, in a line.
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
            text: include_str!(concat!("../../../configs/", $file)),
        }),*]
    };
}

/// All presets.
pub const PRESETS: &[Preset] = presets![
    "vae", "vae", "reference/vae.toml", "every key of the stage, with its default";
    "latents", "latents", "reference/latents.toml", "every key of the stage, with its default";
    "diffusion", "diffusion", "reference/diffusion.toml", "every key of the stage, with its default";
    "shapes-vae", "vae", "shapes/vae.toml", "bouncing shapes at 64 x 64: the tokenizer";
    "shapes-latents", "latents", "shapes/latents.toml", "bouncing shapes at 64 x 64: 16-frame clips";
    "shapes-diffusion", "diffusion", "shapes/diffusion.toml", "bouncing shapes at 64 x 64: the transformer";
    "videos-vae", "vae", "videos/vae.toml", "your videos at 64 x 64: the tokenizer";
    "videos-latents", "latents", "videos/latents.toml", "your videos at 64 x 64: 16-frame clips";
    "videos-diffusion", "diffusion", "videos/diffusion.toml", "your videos at 64 x 64: the transformer";
];

/// The preset called `name`.
///
/// # Errors
/// If there is none; the message names those there are.
pub fn preset(name: &str) -> Result<&'static Preset> {
    let found = PRESETS.iter().find(|preset| preset.name == name);
    found.with_context(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        format!(
            "there is no preset '{name}'; there are {}",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DiffusionRun, LatentsRun, VaeRun, read_config};

    #[test]
    fn every_preset_is_a_configuration_of_its_stage() {
        for preset in PRESETS {
            let read = match preset.stage {
                "vae" => read_config::<VaeRun>(preset.text, &[]).map(drop),
                "latents" => read_config::<LatentsRun>(preset.text, &[]).map(drop),
                _ => read_config::<DiffusionRun>(preset.text, &[]).map(drop),
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
        assert!(vae.data.shapes.take().is_some());
        assert_eq!(vae, VaeRun::default());
        let text = preset("latents").expect("a preset").text;
        let mut latents: LatentsRun = read_config(text, &[]).expect("a configuration");
        assert!(latents.data.videos.take().is_some());
        assert_eq!(latents, LatentsRun::default());
        let text = preset("diffusion").expect("a preset").text;
        let diffusion: DiffusionRun = read_config(text, &[]).expect("a configuration");
        assert_eq!(diffusion, DiffusionRun::default());
    }

    /// Every key of a stage stands in its reference; some as comments, for they have no default.
    #[test]
    fn the_references_have_every_key() {
        fn keys(table: &toml::Table, found: &mut Vec<String>) {
            for (key, value) in table {
                found.push(key.clone());
                if let toml::Value::Table(table) = value {
                    keys(table, found);
                }
            }
        }
        let vae = toml::Table::try_from(VaeRun::default()).expect("a table");
        let latents = toml::Table::try_from(LatentsRun::default()).expect("a table");
        let diffusion = toml::Table::try_from(DiffusionRun::default()).expect("a table");
        for (name, config) in [("vae", vae), ("latents", latents), ("diffusion", diffusion)] {
            let text = preset(name).expect("a preset").text;
            let mut found = Vec::new();
            for (section, value) in config {
                // Which data a stage takes differs.
                if let toml::Value::Table(table) = &value
                    && section != "data"
                {
                    keys(table, &mut found);
                }
                found.push(section);
            }
            for key in found {
                let stands =
                    text.contains(&format!("{key} = ")) || text.contains(&format!("{key}]"));
                assert!(stands, "{name}: {key}");
            }
        }
    }
}
