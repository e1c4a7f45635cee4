//! Properties that must hold for any input: the body of a property test here, and of the fuzz target in `fuzz`.

use ar_weights::{Checkpoint, KeyMap, WeightsSource, load_weights};
use burn::nn::LinearConfig;
use burn::tensor::Device;

/// A file of weights with any contents is read with finite numbers, or is an error of one line.
pub(crate) fn weights(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights");
    std::fs::write(&path, bytes).expect("a file");
    let source = WeightsSource::File(&path);
    if let Ok(checkpoint) = Checkpoint::open(source) {
        for (key, shape) in checkpoint.shapes() {
            if let Ok(Some(values)) = checkpoint.values(&key) {
                assert_eq!(values.len(), shape.iter().product::<usize>(), "{key}");
            }
        }
    }
    let mut layer = LinearConfig::new(3, 2).init(&Device::flex());
    let keys = KeyMap::new(&[], &[]);
    match load_weights(&mut layer, WeightsSource::File(&path), keys) {
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        Ok(()) => {
            let weight: Vec<f32> = layer.weight.val().into_data().iter().collect();
            assert!(weight.iter().all(|value| value.is_finite()), "{weight:?}");
        }
    }
}
