//! Files that PyTorch wrote (`tests/files/generate.py`).

use std::path::{Path, PathBuf};

use ar_weights::{KeyMap, WeightsSource, load_weights};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Device;

const KEYS: KeyMap = KeyMap::new(&[], &[]);

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files")
        .join(name)
}

fn load(path: &Path, inputs: usize) -> Result<Linear, String> {
    let mut layer = LinearConfig::new(inputs, 2).init(&Device::flex());
    load_weights(&mut layer, WeightsSource::File(path), KEYS).map_err(|error| error.to_string())?;
    Ok(layer)
}

#[test]
fn every_way_of_saving() {
    for name in ["plain.pt", "legacy.pt", "half.pt", "checkpoint.pt"] {
        let layer = load(&file(name), 3).expect(name);
        let weight: Vec<f32> = layer.weight.val().into_data().iter().collect();
        let bias: Vec<f32> = layer
            .bias
            .expect("a bias")
            .val()
            .into_data()
            .iter()
            .collect();
        // Ours is transposed.
        assert_eq!(weight, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0], "{name}");
        assert_eq!(bias, [10.0, 11.0], "{name}");
    }
}

#[test]
fn misfits_are_named() {
    let error = load(&file("checkpoint.pt"), 4).expect_err("another width");
    assert!(error.contains("weight has shape"), "{error}");
    let error = load(&file("missing.pt"), 3).expect_err("no file");
    assert!(error.contains("missing.pt"), "{error}");
}

#[test]
fn damage_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("damaged.pt");
    let whole = std::fs::read(file("plain.pt")).expect("a file");
    for length in [0, 1, 4, 9, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).expect("written");
        let error = load(&path, 3).expect_err("a damaged file");
        assert!(error.contains("not a readable"), "{length} bytes: {error}");
        if length > 4 {
            let told =
                "it is cut short: the end of the archive is missing; download or copy it again";
            assert!(error.contains(told), "{length} bytes: {error}");
        }
    }
}
