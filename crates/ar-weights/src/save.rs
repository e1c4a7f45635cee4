use std::path::Path;

use burn::module::Module;

use crate::{Checkpoint, KeyMap, Precision, WeightsError};

/// Writes every parameter of `module` as safetensors, atomically and one at a time.
///
/// # Errors
/// If a weight is broken ([`Fault`](crate::Fault)), or the file cannot be written; an existing file
/// at `path` is then unchanged.
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
    fn broken_weights_are_neither_written_nor_read() {
        let keys = KeyMap::new(&[], &[]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("linear.safetensors");
        let device = Device::flex();
        let network = |value: f32| Linear {
            weight: Param::from_tensor(Tensor::from_floats([[1.0], [value]], &device)),
            ..LinearConfig::new(2, 1).init(&device)
        };
        let broken = [
            (f32::NAN, "NaN or infinity"),
            (f32::INFINITY, "NaN or infinity"),
            (f32::NEG_INFINITY, "NaN or infinity"),
            (8e29, "8e29, which is beyond 65504"),
            (-7e4, "7e4, which is beyond 65504"),
        ];
        for (value, what) in broken {
            for precision in [Precision::Full, Precision::Half] {
                let error = save_weights(&network(value), &path, keys, precision);
                let error = error.expect_err("broken weights").to_string();
                assert!(error.contains(&format!("weight holds {what}")), "{error}");
            }
        }
        assert!(!path.exists());

        let sound = 6e4_f32;
        save_weights(&network(sound), &path, keys, Precision::Half).expect("sound weights");
        save_weights(&network(sound), &path, keys, Precision::Full).expect("sound weights");
        let whole = std::fs::read(&path).expect("the file");
        let at = whole
            .windows(4)
            .position(|four| four == sound.to_le_bytes());
        let at = at.expect("the weight");
        for (value, what) in broken {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            std::fs::write(&path, bytes).expect("written");
            let error = load_weights(&mut network(0.0), WeightsSource::File(&path), keys);
            let error = error.expect_err("broken weights").to_string();
            assert!(error.contains(&format!("weight holds {what}")), "{error}");
        }
        // A copy names the file that the weights are from.
        let copy = Checkpoint::open(WeightsSource::File(&path)).expect("a file");
        let error = copy.save(folder.path().join("copy.safetensors"), Precision::Full);
        let error = error.expect_err("broken weights").to_string();
        let from = format!("{}: weight holds", path.display());
        assert!(error.starts_with(&from), "{error}");
    }
}
