use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::{Device, TensorData};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde::Serialize;

use crate::wait;

/// The folder in which a bench writes results that criterion does not keep.
pub struct Results {
    folder: PathBuf,
}

impl Results {
    /// The folder `name` below `tmp`, the `CARGO_TARGET_TMPDIR` of benches, without leftovers of an earlier run.
    /// `cargo xtask bench` expects it there.
    ///
    /// # Panics
    /// If it cannot be created. All methods panic if they cannot write.
    pub fn new(tmp: &str, name: &str) -> Self {
        let folder = Path::new(tmp).join(name);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                panic!("{}: {error}", folder.display())
            }
            _ => {}
        }
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

    /// Writes tensors by name to a safetensors file, as f32.
    pub fn write_tensors(&self, file: &str, tensors: &[(impl AsRef<str>, TensorData)]) {
        write_tensors(&self.path(file), tensors);
    }
}

/// Writes tensors by name to a safetensors file, as f32.
///
/// # Panics
/// If the file cannot be written.
pub fn write_tensors(file: &Path, tensors: &[(impl AsRef<str>, TensorData)]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, values)| values.iter::<f32>().flat_map(f32::to_le_bytes).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, values), bytes)| {
        let view = TensorView::new(Dtype::F32, values.shape().to_vec(), bytes);
        (name.as_ref(), view.expect("bytes of the shape"))
    });
    serialize_to_file(views, None, file).expect("the folder can be written");
}

/// Waits until the device has finished all work, and returns the seconds since `start`.
pub fn seconds(start: Instant, device: &Device) -> f64 {
    wait(device);
    start.elapsed().as_secs_f64()
}
