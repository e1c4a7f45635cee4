//! For tests: tensors that a reference implementation has computed, and how far others are from them.
//!
//! Everything here panics where a file is not as expected, and says which: a test that has no golden
//! file has failed.
#![warn(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// A folder with `config.json` and `cases.safetensors`, and possibly the weights of a network.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The folder.
    pub folder: PathBuf,
    /// What `config.json` says: sizes and flags of the network, and what was computed with it.
    pub config: Value,
    cases: Vec<u8>,
}

impl Golden {
    /// Reads the files of `folder`.
    ///
    /// # Panics
    /// If one of them is missing, or `config.json` is not JSON.
    #[track_caller]
    pub fn open(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref().to_owned();
        let read = |file: &str| {
            let path = folder.join(file);
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        Self {
            config: serde_json::from_slice(&read("config.json")).expect("config.json is JSON"),
            cases: read("cases.safetensors"),
            folder,
        }
    }

    /// A number of the configuration.
    ///
    /// # Panics
    /// If it has no integer by that name.
    #[track_caller]
    pub fn size(&self, key: &str) -> usize {
        let value = self.config[key].as_u64();
        value.unwrap_or_else(|| panic!("{key} is an integer")) as usize
    }

    /// A flag of the configuration.
    ///
    /// # Panics
    /// If it has no flag by that name.
    #[track_caller]
    pub fn flag(&self, key: &str) -> bool {
        let value = self.config[key].as_bool();
        value.unwrap_or_else(|| panic!("{key} is a flag"))
    }

    /// Names of the tensors that start with `prefix`, without it, in alphabetical order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let cases = self.cases();
        let mut names: Vec<String> = cases
            .names()
            .into_iter()
            .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    /// A tensor of 32-bit floats.
    ///
    /// # Panics
    /// If there is none by that name with `D` axes.
    #[track_caller]
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (values, shape) = self.read(name, Dtype::F32, f32::from_le_bytes);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// A tensor of 64-bit integers, flat.
    ///
    /// # Panics
    /// If there is none by that name.
    #[track_caller]
    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.read(name, Dtype::I64, i64::from_le_bytes).0
    }

    #[track_caller]
    fn read<T, const N: usize>(
        &self,
        name: &str,
        dtype: Dtype,
        number: impl Fn([u8; N]) -> T,
    ) -> (Vec<T>, Vec<usize>) {
        let cases = self.cases();
        let view = cases.tensor(name).expect(name);
        assert_eq!(view.dtype(), dtype, "{name}");
        let (numbers, _) = view.data().as_chunks::<N>();
        let numbers = numbers.iter().map(|&bytes| number(bytes)).collect();
        (numbers, view.shape().to_vec())
    }

    fn cases(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.cases).expect("cases.safetensors is safetensors")
    }
}

/// `|actual - expected| / |expected|`, over all elements.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn relative_error<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) -> f64 {
    assert_eq!(actual.dims(), expected.dims());
    let values = |tensor: Tensor<D>| -> Vec<f64> { tensor.into_data().iter::<f64>().collect() };
    let (actual, expected) = (values(actual), values(expected));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(&expected).map(|(a, e)| a - e));
    difference / norm(&mut expected.iter().copied())
}

/// Panics, with `what`, if the [`relative_error`] is more than `tolerance`, or not a number.
#[track_caller]
pub fn assert_close<const D: usize>(
    what: &str,
    actual: Tensor<D>,
    expected: Tensor<D>,
    tolerance: f64,
) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let error = relative_error(actual, expected);
    assert!(
        error <= tolerance,
        "{what}: relative error {error:.2e} > {tolerance:.0e}"
    );
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize_to_file};

    #[test]
    fn what_is_in_the_files_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = r#"{"width": 2, "causal": true}"#;
        fs::write(folder.path().join("config.json"), config).expect("a file");
        let floats = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
        let integers = [3i64, -4].map(i64::to_le_bytes).concat();
        let view = |dtype, bytes| TensorView::new(dtype, vec![1, 2], bytes).expect("a tensor");
        let tensors = [
            ("case.y", view(Dtype::F32, &floats)),
            ("case.t", view(Dtype::I64, &integers)),
            ("other", view(Dtype::F32, &floats)),
        ];
        let path = folder.path().join("cases.safetensors");
        serialize_to_file(tensors, None, &path).expect("a file");

        let golden = Golden::open(folder.path());
        assert_eq!((golden.size("width"), golden.flag("causal")), (2, true));
        assert_eq!(golden.names("case."), ["t", "y"]);
        assert_eq!(golden.integers("case.t"), [3, -4]);
        let tensor = golden.tensor::<2>("case.y", &Device::flex());
        let values: Vec<f32> = tensor.into_data().iter::<f32>().collect();
        assert_eq!(values, [1.5, -2.0]);
    }

    #[test]
    fn the_error_is_relative_to_what_is_expected() {
        let tensor = |values| Tensor::<1>::from_floats::<[f32; 2]>(values, &Device::flex());
        let expected = tensor([3.0, 4.0]);
        let error = relative_error(tensor([3.0, 4.5]), expected.clone());
        assert!((error - 0.1).abs() < 1e-9, "{error}");
        assert_close("equal", expected.clone(), expected, 0.0);
    }

    #[test]
    #[should_panic(expected = "a sum: relative error")]
    fn what_is_not_a_number_is_not_close() {
        let tensor = |value| Tensor::<1>::from_floats::<[f32; 1]>([value], &Device::flex());
        assert_close("a sum", tensor(f32::NAN), tensor(1.0), 1.0);
    }
}
