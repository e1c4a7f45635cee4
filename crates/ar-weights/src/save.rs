use std::path::Path;

use burn::module::Module;
use burn::store::{ModuleSnapshot, burn_pack};

use crate::floats::{Floats, transpose};
use crate::parameters::parameters;
use crate::{KeyMap, WeightsError, safetensors};

/// Floating-point format of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    Full,
    /// 16 bits: half the size, for shipping.
    Half,
}

impl Precision {
    pub(crate) fn floats(self) -> Floats {
        match self {
            Self::Full => Floats::F32,
            Self::Half => Floats::F16,
        }
    }
}

/// Writes every parameter of `module` as safetensors, atomically and one at a time.
///
/// # Errors
/// If the file cannot be written; an older file at `path` is then untouched.
pub fn save_weights<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    keys: KeyMap,
    precision: Precision,
) -> Result<(), WeightsError> {
    let path = path.as_ref();
    let parameters = parameters(module, keys);
    let tensors = module.collect(None, None, true).into_iter();
    let tensors = tensors.filter_map(|tensor| {
        let key = keys.file_key(&tensor.name);
        let parameter = parameters.get(&key)?;
        let shape = parameter.file_shape();
        let is_transposed = parameter.is_transposed;
        let bytes = move || {
            let values = values(tensor, is_transposed);
            let values = values.map_err(|error| {
                WeightsError::io(path)(std::io::Error::other(error.to_string()))
            })?;
            Ok(precision.floats().narrow(&values))
        };
        Some((key, shape, bytes))
    });
    safetensors::write(path, tensors.collect(), precision.floats())
}

/// The values of a parameter as a file lays them out.
fn values(tensor: burn_pack::Tensor, is_transposed: bool) -> Result<Vec<f32>, burn_pack::Error> {
    let floats = Floats::of(tensor.dtype);
    let floats = floats.ok_or_else(|| {
        burn_pack::Error::ValidationError(format!("{} holds no floats", tensor.name))
    })?;
    let shape = tensor.shape.to_vec();
    let values = floats.widen(&tensor.into_bytes()?);
    Ok(match shape[..] {
        [rows, columns] if is_transposed => transpose(&values, [rows, columns]),
        _ => values,
    })
}
