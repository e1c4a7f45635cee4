use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::store::{ModuleSnapshot, burn_pack};
use burn::tensor::{Bytes, DType};

use crate::floats::Floats;
use crate::parameters::{Parameter, parameters};
use crate::stored::Stored;
use crate::{Checkpoint, Fault, KeyMap, WeightsError, WeightsSource};

/// Reads every parameter of `module`, one at a time. Floats of any width are read as f32.
///
/// # Errors
/// If the file is unreadable, or a tensor is missing, unused, broken ([`Fault`]) or has the wrong shape; the message
/// names it.
pub fn load_weights<M: Module>(
    module: &mut M,
    source: WeightsSource<'_>,
    keys: KeyMap,
) -> Result<(), WeightsError> {
    load_checkpoint(module, &Checkpoint::open(source)?, keys, |_| false)
}

/// [`load_weights`] from an open file, in which tensors whose key is `fresh` may be missing; those keep their values.
///
/// # Errors
/// As [`load_weights`].
pub fn load_checkpoint<M: Module>(
    module: &mut M,
    checkpoint: &Checkpoint,
    keys: KeyMap,
    fresh: impl Fn(&str) -> bool,
) -> Result<(), WeightsError> {
    let parameters = parameters(module, keys);
    check_shapes(&parameters, checkpoint, keys, fresh)?;
    // Memory that has been touched before is much faster than new memory.
    let reading = Arc::new(Mutex::new(Reading::default()));
    let tensors = parameters.into_iter().filter_map(|(key, parameter)| {
        let tensor = checkpoint.get(&key)?.clone();
        Some(deferred(key, parameter, tensor, reading.clone()))
    });
    let result = module.apply(tensors.collect(), None, None, true);
    if let Some(error) = result.errors.first() {
        return Err(WeightsError::Misfit {
            file: checkpoint.name().to_owned(),
            mismatch: error.to_string(),
        });
    }
    let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
    match reading.broken.take() {
        None => Ok(()),
        Some((key, fault)) => Err(WeightsError::Broken {
            file: checkpoint.name().to_owned(),
            key,
            fault,
        }),
    }
}

/// Shared by the tensors of a file while they are read one by one.
#[derive(Default)]
struct Reading {
    buffer: Vec<u8>,
    /// The first tensor with a fault.
    broken: Option<(String, Fault)>,
}

/// Checks that `checkpoint` has every parameter of `module` and no others, without reading values.
///
/// # Errors
/// If a tensor is missing, unused or has the wrong shape; the message names it.
pub fn check_weights<M: Module>(
    module: &M,
    checkpoint: &Checkpoint,
    keys: KeyMap,
) -> Result<(), WeightsError> {
    check_shapes(&parameters(module, keys), checkpoint, keys, |_| false)
}

fn check_shapes(
    parameters: &BTreeMap<String, Parameter>,
    checkpoint: &Checkpoint,
    keys: KeyMap,
    fresh: impl Fn(&str) -> bool,
) -> Result<(), WeightsError> {
    let mut misshapen = Vec::new();
    let mut missing = Vec::new();
    for (key, parameter) in parameters {
        let expected = parameter.file_shape();
        match checkpoint.get(key) {
            None if fresh(key) => {}
            None => missing.push(key.clone()),
            Some(Stored { floats: None, .. }) => misshapen.push(format!("{key} has no floats")),
            Some(Stored { shape, .. }) if *shape == expected => {}
            Some(Stored { shape, .. }) => misshapen.push(format!(
                "{key} has shape {shape:?} and should have {expected:?}"
            )),
        }
    }
    let unused = checkpoint
        .keys()
        .filter(|key| !parameters.contains_key(*key) && !keys.is_ignored(key))
        .map(str::to_owned)
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
            file: checkpoint.name().to_owned(),
            mismatch: mismatch.join("; "),
        })
    }
}

/// The tensor for a parameter, with Burn's layout and name; it is read when it is applied.
fn deferred(
    key: String,
    parameter: Parameter,
    tensor: Stored,
    reading: Arc<Mutex<Reading>>,
) -> burn_pack::Tensor {
    let Parameter {
        path,
        shape,
        is_transposed,
    } = parameter;
    let length = shape.iter().product::<usize>() * Floats::F32.size();
    // Statistics of batch norms are in the units of activations, and may be larger than weights.
    let is_statistic = ["running_mean", "running_var"]
        .iter()
        .any(|name| path.ends_with(name));
    let read = move || {
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        let widened = tensor.parameter(is_transposed, &mut reading.buffer);
        let widened = widened.map_err(|error| burn_pack::Error::IoError(error.to_string()))?;
        let fault = Fault::of_value(widened.largest)
            .filter(|fault| !is_statistic || *fault == Fault::NotFinite);
        if let (Some(fault), None) = (fault, &reading.broken) {
            reading.broken = Some((key.clone(), fault));
        }
        Ok(Bytes::from_elems(widened.values))
    };
    burn_pack::Tensor::deferred(path, DType::F32, shape, None, length, read)
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
