//! What PyTorch computed, and the weights and inputs for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

/// Relative to the root mean square of a tensor: single precision through some fifty layers.
const TOLERANCE: f64 = 1e-4;

pub(crate) fn expected() -> Value {
    serde_json::from_str(include_str!("../reference/expected.json")).expect("valid JSON")
}

/// Numbers in [-1, 1), the same as in `tests/reference/generate.py`.
fn hashes(key: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = key.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    (1..=count as u64).map(move |i| {
        let z = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
    })
}

pub(crate) fn noise(key: &str, count: usize) -> Vec<f32> {
    hashes(key, count).map(|value| value as f32).collect()
}

/// The bytes of a weight.
fn weight(key: &str, shape: &[usize]) -> Vec<u8> {
    let name = if key.starts_with("lin") {
        "distance"
    } else {
        key.rsplit('.').next().expect("a name")
    };
    let fan_in: usize = shape.iter().skip(1).product();
    let (scale, offset) = match name {
        "running_var" => (0.5, 1.0),
        "running_mean" | "bias" => (0.1, 0.0),
        "distance" => (0.5, 0.5),
        "weight" if shape.len() == 1 => (0.25, 1.0),
        "weight" => ((6.0 / fan_in as f64).sqrt(), 0.0),
        other => panic!("no rule for {other}"),
    };
    hashes(key, shape.iter().product())
        .flat_map(|value| ((value * scale + offset) as f32).to_le_bytes())
        .collect()
}

pub(crate) struct Case {
    expected: Value,
    folder: tempfile::TempDir,
}

impl Case {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            expected: expected()[name].take(),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A safetensors file of the weights; it lives as long as the case.
    pub(crate) fn weights(&self) -> PathBuf {
        self.weights_with(str::to_owned)
    }

    /// As [`weights`](Self::weights), under other keys.
    pub(crate) fn weights_with(&self, rename: impl Fn(&str) -> String) -> PathBuf {
        let shapes = self.expected["weights"].as_object().expect("shapes by key");
        let tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = shapes
            .iter()
            .map(|(key, shape)| {
                let shape = shape_of(shape);
                let tensor = if key.ends_with("num_batches_tracked") {
                    (Dtype::I64, shape, 7_i64.to_le_bytes().to_vec())
                } else {
                    (Dtype::F32, shape.clone(), weight(key, &shape))
                };
                (rename(key), tensor)
            })
            .collect();
        let views = tensors.iter().map(|(key, (dtype, shape, bytes))| {
            (
                key,
                TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"),
            )
        });
        let path = self.folder.path().join("weights.safetensors");
        safetensors::serialize_to_file(views, None, &path).expect("written");
        path
    }

    /// The input with that key.
    pub(crate) fn input<const D: usize>(&self, key: &str) -> Tensor<D> {
        let shape = shape_of(&self.expected["input"]);
        let values = noise(key, shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    pub(crate) fn check<const D: usize>(&self, what: &str, found: &Tensor<D>) {
        check(what, &self.expected[what], found);
    }

    pub(crate) fn check_stage<const D: usize>(&self, name: &str, found: &Tensor<D>) {
        check(name, &self.expected["stages"][name], found);
    }

    pub(crate) fn stages_to_see(&self) -> Stages<'_> {
        let stages = self.expected["stages"].as_object().expect("stages by name");
        Stages {
            case: self,
            unseen: stages.keys().cloned().collect(),
        }
    }
}

/// Stages that a network has not reached yet.
pub(crate) struct Stages<'a> {
    case: &'a Case,
    unseen: Vec<String>,
}

impl Stages<'_> {
    pub(crate) fn check<const D: usize>(&mut self, name: &str, found: &Tensor<D>) {
        self.case.check_stage(name, found);
        self.unseen.retain(|unseen| unseen != name);
    }

    pub(crate) fn finish(self) {
        assert!(self.unseen.is_empty(), "not seen: {:?}", self.unseen);
    }
}

fn shape_of(value: &Value) -> Vec<usize> {
    let sizes = value.as_array().expect("a shape").iter();
    sizes
        .map(|size| size.as_u64().expect("a size") as usize)
        .collect()
}

fn check<const D: usize>(what: &str, expected: &Value, found: &Tensor<D>) {
    assert_eq!(
        found.dims().to_vec(),
        shape_of(&expected["shape"]),
        "{what}"
    );
    let found: Vec<f64> = found.clone().into_data().iter().collect();
    let count = found.len();
    let number = |value: &Value| value.as_f64().expect("a number");
    let rms = number(&expected["rms"]);
    let close = |name: &str, found: f64, expected: &Value| {
        let expected = number(expected);
        assert!(
            (found - expected).abs() <= TOLERANCE * rms,
            "{what}: {name} is {found} and should be {expected}; rms {rms}"
        );
    };
    let squares = found.iter().map(|x| x * x).sum::<f64>() / count as f64;
    close(
        "mean",
        found.iter().sum::<f64>() / count as f64,
        &expected["mean"],
    );
    close("rms", squares.sqrt(), &expected["rms"]);
    let values = expected["values"].as_array().expect("values");
    for (i, value) in values.iter().enumerate() {
        let index = i * count / values.len();
        close(&format!("value {index}"), found[index], value);
    }
}
