use std::path::{Path, PathBuf};

/// Weights that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is damaged, or holds no weights.
    #[error("{file}: not a readable {format} file: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the file seems to be.
        format: &'static str,
        /// What the reader says.
        reason: String,
    },
    /// A tensor of a file cannot be read.
    #[error("{file}: {key} cannot be read: {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The tensors of a file do not fit the network.
    #[error("{file} does not fit the configuration: {mismatch}")]
    Misfit {
        /// The file.
        file: String,
        /// The missing, unused or misshapen tensors.
        mismatch: String,
    },
}

impl WeightsError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
