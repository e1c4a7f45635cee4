//! Damaged configurations and model directories: the bodies of the fuzz targets, with inputs from
//! proptest.

mod bodies;

use std::env;
use std::fs;

use ar_dit::DitConfig;
use ar_model::{ModelConfig, Precision, VideoModel};
use ar_vae::{ConvVaeConfig, VaeConfig};
use burn::tensor::Device;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

/// The same cases every time; with `AR_FUZZ_TIMES` set, that many times as many, and different
/// ones.
fn config(cases: u32) -> ProptestConfig {
    let times = env::var("AR_FUZZ_TIMES").ok();
    let times: Option<u32> = times.map(|times| times.parse().expect("AR_FUZZ_TIMES is a number"));
    ProptestConfig {
        failure_persistence: None,
        rng_seed: match times {
            Some(_) => RngSeed::Random,
            None => RngSeed::Fixed(0),
        },
        ..ProptestConfig::with_cases(cases * times.unwrap_or(1))
    }
}

/// A small model with a VAE.
fn small() -> ModelConfig {
    ModelConfig {
        vae: Some(VaeConfig::Conv(ConvVaeConfig {
            image_size: 16,
            patch_size: 4,
            channels: vec![4, 4],
            latent_channels: 2,
            ..ConvVaeConfig::default()
        })),
        ..ModelConfig::default()
    }
}

/// Replacements for values, as people and broken disks write them.
fn lines() -> impl Strategy<Value = Vec<(Index, String)>> {
    let values = prop::sample::select(vec![
        "0",
        "-1",
        "1e400",
        "nan",
        "9223372036854775807",
        "4611686018427387904",
        "18446744073709551615",
        "\"\"",
        "[]",
        "[[1.0]]",
        "true",
        "x",
        "\u{0}",
        "16",
    ]);
    let line = (any::<Index>(), values.prop_map(String::from));
    prop::collection::vec(line, 0..4)
}

fn changed(text: &str, changes: &[(Index, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for (index, value) in changes {
        let line = &mut lines[index.index(text.lines().count())];
        *line = match line.split_once('=') {
            Some((key, _)) => format!("{key}= {value}"),
            None => value.clone(),
        };
    }
    lines.join("\n")
}

#[test]
fn damaged_configurations() {
    let sampler = ModelConfig {
        transformer: Some(DitConfig::default()),
        ..ModelConfig::default()
    };
    let whole = vec![small().to_toml(), sampler.to_toml()];
    proptest!(config(200), |(text in prop::sample::select(whole), changes in lines())| {
        bodies::configuration(&changed(&text, &changes));
    });
}

#[test]
fn damaged_model_directories() {
    let model = VideoModel::init(small(), &Device::flex()).expect("a model");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    model.save(&path, Precision::Full).expect("saved");
    let vae = fs::read(path.join("vae.safetensors")).expect("a file");
    let text = fs::read_to_string(path.join("config.toml")).expect("a file");
    let bytes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    proptest!(config(60), |(changes in lines(), bytes in bytes)| {
        let mut vae = vae.clone();
        // The header, where numbers are sizes and positions.
        for (index, value) in bytes {
            let at = index.index(vae.len().min(600));
            vae[at] = value;
        }
        bodies::directory(&changed(&text, &changes), &vae);
    });
}
