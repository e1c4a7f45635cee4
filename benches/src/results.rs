use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::Serialize;

use crate::wait;

/// The folder in which a bench that criterion does not run leaves what it found.
pub struct Results {
    folder: PathBuf,
}

impl Results {
    /// The folder `name` below `tmp`, the `CARGO_TARGET_TMPDIR` of benches. `cargo xtask bench`
    /// looks for it there.
    ///
    /// # Panics
    /// If it cannot be made, as all methods do where they cannot write.
    pub fn new(tmp: &str, name: &str) -> Self {
        let folder = Path::new(tmp).join(name);
        fs::create_dir_all(&folder).expect("the target folder can be written");
        Self { folder }
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes `results.json`.
    pub fn write(&self, results: &impl Serialize) {
        let json = serde_json::to_string_pretty(results).expect("results are plain data");
        fs::write(self.path("results.json"), json).expect("the target folder can be written");
    }

    /// Writes tensors by name to a safetensors file.
    pub fn write_tensors(&self, file: &str, tensors: Vec<(String, Tensor<4>)>) {
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .into_iter()
            .map(|(name, tensor)| {
                let shape = tensor.dims().to_vec();
                let values = tensor.into_data();
                let bytes = values.iter::<f32>().flat_map(f32::to_le_bytes).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name, view.expect("bytes of the shape"))
        });
        serialize_to_file(views, None, &self.path(file)).expect("the target folder can be written");
    }
}

/// Seconds since `start` when the device has done all it was asked to.
pub fn seconds(start: Instant, device: &Device) -> f64 {
    wait(device);
    start.elapsed().as_secs_f64()
}
