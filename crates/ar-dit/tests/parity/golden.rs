//! Reading of the golden files.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One folder of `tests/golden`.
pub(crate) struct Golden {
    pub folder: PathBuf,
    pub config: Value,
    cases: Vec<u8>,
}

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
        let read = |file: &str| std::fs::read(folder.join(file)).expect("a golden file");
        Self {
            config: serde_json::from_slice(&read("config.json")).expect("JSON"),
            cases: read("cases.safetensors"),
            folder,
        }
    }

    pub(crate) fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().expect("an integer") as usize
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.config[key].as_bool().expect("a flag")
    }

    fn cases(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.cases).expect("safetensors")
    }

    /// Names of the tensors that start with `prefix`, without it.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let cases = self.cases();
        let mut names: Vec<String> = cases
            .names()
            .into_iter()
            .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    pub(crate) fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let cases = self.cases();
        let view = cases.tensor(name).expect(name);
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        Tensor::from_data(TensorData::new(values, view.shape().to_vec()), device)
    }

    pub(crate) fn integers(&self, name: &str) -> Vec<i64> {
        let cases = self.cases();
        let view = cases.tensor(name).expect(name);
        assert_eq!(view.dtype(), Dtype::I64, "{name}");
        view.data()
            .chunks_exact(8)
            .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            .collect()
    }
}

/// Fails where `|actual - expected| / |expected|` exceeds `tolerance`.
#[track_caller]
pub(crate) fn assert_close<const D: usize>(
    what: &str,
    actual: Tensor<D>,
    expected: Tensor<D>,
    tolerance: f64,
) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let values = |t: Tensor<D>| -> Vec<f64> { t.into_data().iter::<f64>().collect() };
    let (actual, expected) = (values(actual), values(expected));
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = squares(&mut actual.iter().zip(&expected).map(|(a, e)| a - e)).sqrt();
    let error = difference / squares(&mut expected.iter().copied()).sqrt();
    println!("{what}: relative error {error:.2e}");
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.2e} > {tolerance:.0e}"
    );
}
