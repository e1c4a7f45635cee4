use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::store::{ModuleSnapshot, ModuleStore, PytorchStore, burn_pack};

use crate::content::{FIRST_BYTES, other_content};
use crate::floats::{Floats, Widened, transpose};
use crate::parameters::parameters;
use crate::stored::Stored;
use crate::{Fault, KeyMap, Precision, WeightsError, WeightsSource, safetensors};

/// Entries in which training scripts store the weights of a network, beside the optimizer's state and the like.
const STATE_DICTS: [&str; 2] = ["state_dict.", "model_state_dict."];

/// In the messages of the reader of archives about one that is cut short (EOCD is the end of central directory).
const CUT: [&str; 2] = ["EOCD", "Unexpected end"];

/// The prefix of each key of a network that is wrapped for several devices.
const PARALLEL: &str = "module.";

/// The tensors of a file, named as in the network's own state dict, whatever the file's format and wrapping. Opening it
/// reads names and shapes; values are read on demand, tensor by tensor.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    name: String,
    tensors: BTreeMap<String, Stored>,
}

impl Checkpoint {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, is cut off, or has no tensors.
    pub fn open(source: WeightsSource<'_>) -> Result<Self, WeightsError> {
        let tensors = match source {
            WeightsSource::Bytes(name, bytes) => safetensors::in_memory(name, bytes.to_vec())?,
            WeightsSource::File(path) => match Format::of(path)? {
                Format::PyTorch => pytorch(path)?,
                Format::Safetensors => safetensors::in_file(path)?,
            },
        };
        Ok(Self {
            name: source.name(),
            tensors: unwrap(tensors),
        })
    }

    /// The parameters of a network, as in a file that [`save_weights`](crate::save_weights) writes; it is called `name`
    /// in messages.
    pub fn of<M: Module>(module: &M, keys: KeyMap, name: impl Into<String>) -> Self {
        let parameters = parameters(module, keys);
        let tensors = module.collect(None, None, true).into_iter();
        let tensors = tensors.filter_map(|tensor| {
            let key = keys.file_key(&tensor.name);
            let parameter = parameters.get(&key)?;
            let is_transposed = parameter.is_transposed;
            let read = move |bytes: &mut Vec<u8>| {
                *bytes = Floats::F32.narrow(&values(&tensor, is_transposed)?);
                Ok(())
            };
            let stored = Stored {
                shape: parameter.file_shape(),
                floats: Some(Floats::F32),
                read: Arc::new(read),
            };
            Some((key, stored))
        });
        Self {
            name: name.into(),
            tensors: tensors.collect(),
        }
    }

    /// The file, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of all tensors.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shapes of all tensors by their names.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shapes = self.tensors.iter();
        shapes
            .map(|(key, tensor)| (key.clone(), tensor.shape.clone()))
            .collect()
    }

    /// The shape of a tensor, if there is one with that name.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|tensor| &tensor.shape[..])
    }

    /// Reads a tensor as f32, row by row, if there is one with that name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn values(&self, key: &str) -> Result<Option<Vec<f32>>, WeightsError> {
        let values = self.tensors.get(key).map(Stored::values).transpose();
        values.map_err(|error| self.unreadable(key, &error))
    }

    /// Adds a tensor, or replaces the one with the same name.
    ///
    /// # Panics
    /// If the number of `values` does not match the shape.
    pub fn insert(&mut self, key: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{shape:?}");
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let tensor = Stored {
            shape,
            floats: Some(Floats::F32),
            read: Arc::new(move |buffer| {
                buffer.clone_from(&bytes);
                Ok(())
            }),
        };
        self.tensors.insert(key.into(), tensor);
    }

    /// Drops the tensors whose names are not `kept`.
    pub fn retain(&mut self, mut kept: impl FnMut(&str) -> bool) {
        self.tensors.retain(|key, _| kept(key));
    }

    /// The tensors whose names start with `prefix`, without the prefix.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Self {
        Self {
            name: self.name.clone(),
            tensors: below(prefix, self.tensors.clone()),
        }
    }

    /// Writes all tensors as safetensors, atomically and one at a time.
    ///
    /// # Errors
    /// If a tensor cannot be read or is broken ([`Fault`]), or the file cannot be written; an existing file at `path` is
    /// then unchanged.
    pub fn save(&self, path: impl AsRef<Path>, precision: Precision) -> Result<(), WeightsError> {
        let tensors = self.tensors.iter().map(|(key, tensor)| {
            let bytes = move || {
                let widened = tensor.widened();
                let Widened { values, largest } =
                    widened.map_err(|error| self.unreadable(key, &error))?;
                match Fault::of_value(largest) {
                    None => Ok(precision.floats().narrow(&values)),
                    Some(fault) => Err(WeightsError::Broken {
                        file: self.name.clone(),
                        key: key.clone(),
                        fault,
                    }),
                }
            };
            (key.clone(), tensor.shape.clone(), bytes)
        });
        safetensors::write(path.as_ref(), tensors.collect(), precision.floats())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Stored> {
        self.tensors.get(key)
    }

    fn unreadable(&self, key: &str, error: &io::Error) -> WeightsError {
        WeightsError::Tensor {
            file: self.name.clone(),
            key: key.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// How a file lays out its weights.
enum Format {
    PyTorch,
    Safetensors,
}

impl Format {
    /// PyTorch's files start like an archive or a pickle. A safetensors file starts with the length of its header,
    /// which may be the same bytes, but then the header follows.
    fn of(path: &Path) -> Result<Self, WeightsError> {
        // A device may have no end, and a pipe cannot be read twice.
        ar_files::check_regular(path).map_err(WeightsError::io(path))?;
        let mut start = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FIRST_BYTES as u64).read_to_end(&mut start))
            .map_err(WeightsError::io(path))?;
        if start.get(8) == Some(&b'{') {
            return Ok(Self::Safetensors);
        }
        if start.starts_with(b"PK") || start.starts_with(&[0x80]) {
            return Ok(Self::PyTorch);
        }
        match other_content(&start) {
            None => Ok(Self::Safetensors),
            Some(what) => Err(WeightsError::Unreadable {
                file: path.display().to_string(),
                format: "safetensors or PyTorch",
                reason: what.into(),
            }),
        }
    }
}

fn pytorch(path: &Path) -> Result<BTreeMap<String, Stored>, WeightsError> {
    let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
    let unreadable = |reason: String| WeightsError::Unreadable {
        file: path.display().to_string(),
        format: "PyTorch",
        reason,
    };
    let tensors = store.get_all_tensors().map_err(|error| {
        let reason = error.to_string();
        unreadable(if reason.contains("No data.pkl entry found") {
            "it is a zip archive of other files, without PyTorch's data.pkl: unpack it, and give the file of the \
             weights"
                .into()
        } else if CUT.iter().any(|words| reason.contains(words)) {
            "it is cut short: the end of the archive is missing; download or copy it again".into()
        } else {
            format!("{reason}; if it is cut short or damaged, download or copy it again")
        })
    })?;
    if tensors.is_empty() {
        return Err(unreadable(
            "it holds no tensors: give the file of the weights".into(),
        ));
    }
    let length = std::fs::metadata(path)
        .map_err(WeightsError::io(path))?
        .len();
    check_lengths(tensors, length).map_err(unreadable)?;
    Ok(tensors
        .iter()
        .map(|(key, tensor)| (key.clone(), stored(tensor.clone())))
        .collect())
}

/// Fails if tensors are larger than a file of `length` bytes can hold, because a tensor whose elements are all in one
/// place (stride 0) may claim any size. Several tensors may share their elements.
fn check_lengths(tensors: &BTreeMap<String, burn_pack::Tensor>, length: u64) -> Result<(), String> {
    const SHARED: u64 = 4;
    let mut all: u64 = 0;
    for (key, tensor) in tensors {
        let bytes = tensor.byte_len() as u64;
        all = all.saturating_add(bytes);
        if bytes > length || all > length.saturating_mul(SHARED) {
            return Err(format!(
                "{key} has {bytes} bytes ({all} with the tensors before it), and the file {length}"
            ));
        }
    }
    Ok(())
}

fn stored(tensor: burn_pack::Tensor) -> Stored {
    Stored {
        shape: tensor.shape.to_vec(),
        floats: Floats::of(tensor.dtype),
        read: Arc::new(move |buffer| {
            let bytes = tensor.to_bytes();
            let bytes = bytes.map_err(|error| io::Error::other(error.to_string()))?;
            buffer.clear();
            buffer.extend_from_slice(&bytes);
            Ok(())
        }),
    }
}

/// The values of a parameter in the layout of a file.
fn values(tensor: &burn_pack::Tensor, is_transposed: bool) -> io::Result<Vec<f32>> {
    let floats = Floats::of(tensor.dtype);
    let floats =
        floats.ok_or_else(|| io::Error::other(format!("{} holds no floats", tensor.name)))?;
    let bytes = tensor.to_bytes();
    let bytes = bytes.map_err(|error| io::Error::other(error.to_string()))?;
    let values = floats.widen(&bytes).values;
    Ok(match tensor.shape.to_vec()[..] {
        [rows, columns] if is_transposed => transpose(&values, [rows, columns]),
        _ => values,
    })
}

/// Removes the wrapping of a checkpoint.
fn unwrap(tensors: BTreeMap<String, Stored>) -> BTreeMap<String, Stored> {
    let state_dict = STATE_DICTS
        .into_iter()
        .find(|prefix| tensors.keys().any(|key| key.starts_with(prefix)));
    let tensors = match state_dict {
        Some(prefix) => below(prefix, tensors),
        None => tensors,
    };
    if tensors.keys().all(|key| key.starts_with(PARALLEL)) {
        below(PARALLEL, tensors)
    } else {
        tensors
    }
}

/// The tensors whose keys start with `prefix`, without the prefix.
fn below(prefix: &str, tensors: BTreeMap<String, Stored>) -> BTreeMap<String, Stored> {
    let keep = |(key, tensor): (String, Stored)| Some((key.strip_prefix(prefix)?.into(), tensor));
    tensors.into_iter().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Shape};

    #[test]
    fn tensors_larger_than_their_file_are_refused() {
        let tensor = |elements: usize| {
            let read = || Err(burn_pack::Error::IoError("not read".into()));
            let shape = Shape::from([elements]);
            burn_pack::Tensor::deferred("w".into(), DType::F32, shape, None, 4 * elements, read)
        };
        let check = |tensors: &[usize]| {
            let tensors = tensors.iter().enumerate();
            let tensors = tensors.map(|(i, &elements)| (i.to_string(), tensor(elements)));
            check_lengths(&tensors.collect(), 1000)
        };
        assert!(check(&[250]).is_ok());
        assert!(check(&[250; 4]).is_ok(), "they may share their elements");
        // 92 kB that claim to be 2.4 GB, in one tensor or in many.
        let error = check(&[251]).expect_err("too large");
        assert_eq!(
            error,
            "0 has 1004 bytes (1004 with the tensors before it), and the file 1000"
        );
        assert!(check(&[250; 5]).is_err());
        assert!(check(&[usize::MAX / 4]).is_err());
    }
}
