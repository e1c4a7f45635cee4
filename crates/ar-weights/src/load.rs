use burn::module::Module;
use burn::store::{
    ApplyError, FloatCastAdapter, ModuleAdapter, ModuleSnapshot, PyTorchToBurnAdapter,
};
use burn::tensor::DType;

use crate::{KeyMap, WeightsError, WeightsSource, checkpoint};

/// Reads every parameter of `module`. Floats of any width are read as 32 bits.
///
/// # Errors
/// If the file is unreadable, or a tensor is missing, left over or of another shape; the message
/// names it.
pub fn load_weights<M: Module>(
    module: &mut M,
    source: WeightsSource<'_>,
    keys: KeyMap,
) -> Result<(), WeightsError> {
    load_weights_but(module, source, keys, |_| false)
}

/// [`load_weights`], in which tensors whose key is `fresh` may be missing and then keep their values.
///
/// # Errors
/// As [`load_weights`].
pub fn load_weights_but<M: Module>(
    module: &mut M,
    source: WeightsSource<'_>,
    keys: KeyMap,
    fresh: impl Fn(&str) -> bool,
) -> Result<(), WeightsError> {
    let (tensors, _) = keys.to_module().remap(checkpoint::read(source)?);
    let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32));
    let result = module.apply(tensors, None, Some(Box::new(adapter)), true);

    let misshapen: Vec<String> = result
        .errors
        .iter()
        .map(|error| match error {
            ApplyError::ShapeMismatch {
                path,
                expected,
                found,
            } => format!(
                "{} has shape {:?} and should have {:?}",
                keys.file_key(path),
                found.as_slice(),
                expected.as_slice()
            ),
            other => other.to_string(),
        })
        .collect();
    // A tensor that failed to apply is reported once, as misshapen.
    let missing: Vec<String> = result
        .missing
        .iter()
        .map(|(path, _)| keys.file_key(path))
        .filter(|key| !fresh(key))
        .collect();
    let unused: Vec<String> = result
        .unused
        .iter()
        .filter(|path| !keys.is_ignored(path))
        .map(|path| keys.file_key(path))
        .collect();
    let mismatch: Vec<String> = [
        ("misshapen", misshapen),
        ("missing", missing),
        ("not part of the network", unused),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(what, names)| describe(what, &names))
    .collect();
    if mismatch.is_empty() {
        Ok(())
    } else {
        Err(WeightsError::Misfit {
            file: source.name(),
            mismatch: mismatch.join("; "),
        })
    }
}

/// The first few of `names`, and how many there are.
fn describe(what: &str, names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = format!("{what}: {}", names[..names.len().min(SHOWN)].join(", "));
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
