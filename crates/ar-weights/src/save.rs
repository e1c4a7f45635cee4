use std::path::Path;

use burn::module::Module;

use crate::{Checkpoint, KeyMap, Precision, WeightsError};

/// Writes every parameter of `module` as safetensors, atomically and one at a time.
///
/// # Errors
/// If a weight is not finite or does not fit the precision, or the file cannot be written; an
/// existing file at `path` is then unchanged.
pub fn save_weights<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    keys: KeyMap,
    precision: Precision,
) -> Result<(), WeightsError> {
    let path = path.as_ref();
    Checkpoint::of(module, keys, path.display().to_string()).save(path, precision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{WeightsSource, load_weights};
    use burn::module::Param;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    #[test]
    fn weights_that_are_not_finite_are_neither_written_nor_read() {
        let keys = KeyMap::new(&[], &[]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("linear.safetensors");
        let device = Device::flex();
        let network = |value: f32| Linear {
            weight: Param::from_tensor(Tensor::from_floats([[1.0], [value]], &device)),
            ..LinearConfig::new(2, 1).init(&device)
        };
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = save_weights(&network(broken), &path, keys, Precision::Full);
            let error = error.expect_err("broken weights").to_string();
            assert!(error.contains("weight holds NaN or infinity"), "{error}");
        }
        assert!(!path.exists());

        save_weights(&network(7e4), &path, keys, Precision::Full).expect("finite weights");
        let error = save_weights(&network(7e4), &path, keys, Precision::Half);
        let error = error.expect_err("too large").to_string();
        assert!(
            error.contains("weight holds values beyond 65504"),
            "{error}"
        );

        let mut bytes = std::fs::read(&path).expect("the file");
        let at = bytes
            .windows(4)
            .position(|four| four == 7e4_f32.to_le_bytes());
        let at = at.expect("the weight");
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&path, bytes).expect("written");
        let error = load_weights(&mut network(0.0), WeightsSource::File(&path), keys);
        let error = error.expect_err("broken weights").to_string();
        assert!(error.contains("weight holds NaN or infinity"), "{error}");
    }
}
