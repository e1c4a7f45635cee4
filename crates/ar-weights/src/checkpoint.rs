//! The tensors of a file, whichever its format and wrapping.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use burn::store::burn_pack::Tensor;
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore};

use crate::{WeightsError, WeightsSource};

/// Entries under which training scripts keep the weights of a network, beside an optimizer's state
/// and the like.
const STATE_DICTS: [&str; 2] = ["state_dict.", "model_state_dict."];

/// What a network wrapped for several devices puts before each of its keys.
const PARALLEL: &str = "module.";

/// Every tensor, named as in the network's own state dict.
pub(crate) fn read(source: WeightsSource<'_>) -> Result<Vec<Tensor>, WeightsError> {
    let tensors = match source {
        WeightsSource::Bytes(_, bytes) => {
            collect(source, SafetensorsStore::from_bytes(Some(bytes.to_vec())))
        }
        WeightsSource::File(path) if is_pytorch(path)? => collect(
            source,
            PytorchStore::from_file(path).map_indices_contiguous(false),
        ),
        WeightsSource::File(path) => collect(source, SafetensorsStore::from_file(path)),
    }?;
    Ok(unwrap(tensors))
}

/// Whether a file begins like an archive or a pickle. A safetensors file may begin with the same
/// bytes, the length of its header, but then the header follows.
fn is_pytorch(path: &Path) -> Result<bool, WeightsError> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(9).read_to_end(&mut start))
        .map_err(WeightsError::io(path))?;
    let has_header = start.get(8) == Some(&b'{');
    Ok(!has_header && (start.starts_with(b"PK") || start.starts_with(&[0x80])))
}

/// A format that Burn reads.
trait Format: ModuleStore {
    const NAME: &str;
}

impl Format for SafetensorsStore {
    const NAME: &str = "safetensors";
}

impl Format for PytorchStore {
    const NAME: &str = "PyTorch";
}

fn collect<S: Format>(
    source: WeightsSource<'_>,
    mut store: S,
) -> Result<BTreeMap<String, Tensor>, WeightsError> {
    match store.get_all_tensors() {
        Ok(tensors) => Ok(tensors.clone()),
        Err(error) => Err(WeightsError::Unreadable {
            file: source.name(),
            format: S::NAME,
            reason: error.to_string(),
        }),
    }
}

/// Leaves the wrapping of a checkpoint away.
fn unwrap(tensors: BTreeMap<String, Tensor>) -> Vec<Tensor> {
    let state_dict = STATE_DICTS
        .into_iter()
        .find(|prefix| tensors.keys().any(|key| key.starts_with(prefix)));
    let tensors = match state_dict {
        Some(prefix) => below(prefix, tensors),
        None => tensors,
    };
    let tensors = if tensors.keys().all(|key| key.starts_with(PARALLEL)) {
        below(PARALLEL, tensors)
    } else {
        tensors
    };
    tensors
        .into_iter()
        .map(|(name, mut tensor)| {
            tensor.name = name;
            tensor
        })
        .collect()
}

/// The tensors whose key begins with `prefix`, without it.
fn below(prefix: &str, tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let keep = |(key, tensor): (String, Tensor)| Some((key.strip_prefix(prefix)?.into(), tensor));
    tensors.into_iter().filter_map(keep).collect()
}
