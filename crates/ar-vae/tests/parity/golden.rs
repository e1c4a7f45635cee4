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

    fn cases(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.cases).expect("safetensors")
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
