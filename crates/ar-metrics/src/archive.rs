//! Samples in safetensors files, so that an evaluation can be split up and resumed.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use crate::MetricError;

/// Writes tensors, atomically. All numbers are little-endian.
pub(crate) fn write(
    path: &Path,
    tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)],
) -> Result<(), MetricError> {
    let io = |source| MetricError::Io {
        path: path.to_owned(),
        source,
    };
    let views: Result<Vec<_>, SafeTensorError> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((*name, TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect();
    let bytes = views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| io(std::io::Error::other(error)))?;
    ar_files::write_atomically(path, &bytes).map_err(io)
}

/// Passes the tensors of a file to `parse`, whose error becomes an error about the file.
pub(crate) fn read<T>(
    path: &Path,
    content: &'static str,
    parse: impl FnOnce(&SafeTensors<'_>) -> Result<T, String>,
) -> Result<T, MetricError> {
    let bytes = ar_files::check_regular(path).and_then(|()| std::fs::read(path));
    let bytes = bytes.map_err(|source| MetricError::Io {
        path: path.to_owned(),
        source,
    })?;
    SafeTensors::deserialize(&bytes)
        .map_err(|error| error.to_string())
        .and_then(|file| parse(&file))
        .map_err(|reason| MetricError::Unreadable {
            path: path.to_owned(),
            content,
            reason,
        })
}

/// The shape and the bytes of a tensor.
pub(crate) fn tensor<'a>(
    file: &'a SafeTensors<'_>,
    name: &str,
    dtype: Dtype,
) -> Result<(Vec<usize>, &'a [u8]), String> {
    let view = file.tensor(name).map_err(|error| error.to_string())?;
    if view.dtype() != dtype {
        return Err(format!(
            "{name} is of {:?} and should be of {dtype:?}",
            view.dtype()
        ));
    }
    Ok((view.shape().to_vec(), view.data()))
}
