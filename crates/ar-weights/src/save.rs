use std::path::Path;

use burn::module::Module;
use burn::store::{
    BurnToPyTorchAdapter, FloatCastAdapter, ModuleAdapter, ModuleStore, SafetensorsStore,
};
use burn::tensor::DType;

use crate::{KeyMap, WeightsError};

/// Floating-point format of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    Full,
    /// 16 bits: half the size, for shipping.
    Half,
}

/// Writes every parameter of `module` as safetensors, atomically.
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
    let dtype = match precision {
        Precision::Full => DType::F32,
        Precision::Half => DType::F16,
    };
    let io = |message: String| WeightsError::io(path)(std::io::Error::other(message));
    let mut store = SafetensorsStore::from_bytes(None)
        .with_to_adapter(BurnToPyTorchAdapter.chain(FloatCastAdapter::to(dtype)))
        .remap(keys.to_file())
        // One entry, which PyTorch's readers look for: the order of several would be random.
        .clear_metadata()
        .metadata("format", "pt")
        .skip_enum_variants(true);
    store
        .collect_from(module)
        .map_err(|error| io(error.to_string()))?;
    let bytes = store.get_bytes().map_err(|error| io(error.to_string()))?;
    ar_files::write_atomically(path, &bytes).map_err(WeightsError::io(path))
}
