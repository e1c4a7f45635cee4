use std::path::{Path, PathBuf};

use crate::Fault;

/// Weights that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: std::io::Error,
    },
    /// A file is damaged, or has no weights.
    #[error("{file}: not a readable {format} file: {}", printable(reason))]
    Unreadable {
        /// The file.
        file: String,
        /// What the file seems to be.
        format: &'static str,
        /// The reader's error.
        reason: String,
    },
    /// A tensor of a file cannot be read.
    #[error("{file}: {} cannot be read: {}", printable(key), printable(reason))]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A weight has a value with which the network cannot compute anything.
    #[error(
        "{file}: {} holds {fault}: the weights are broken, or have exploded in training that \
         diverged",
        printable(key)
    )]
    Broken {
        /// The file.
        file: String,
        /// The tensor.
        key: String,
        /// What is wrong with its values.
        fault: Fault,
    },
    /// The tensors of a file do not fit the network.
    #[error(
        "{file} does not fit the network: {}; give the weights of this network, or describe the one \
         in the file",
        printable(mismatch)
    )]
    Misfit {
        /// The file.
        file: String,
        /// The missing, unused or misshapen tensors.
        mismatch: String,
    },
}

/// Text from a file, in one line and without control characters.
fn printable(text: &str) -> String {
    let shown = |c: char| -> String {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.into()
        }
    };
    text.chars().map(shown).collect()
}

impl WeightsError {
    /// The same error after the folder `from`, which the file is in, has been renamed to `to`.
    #[must_use]
    pub fn moved(self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Self {
        let (from, to) = (from.as_ref(), to.as_ref());
        let moved = |file: String| {
            let rest = Path::new(&file)
                .strip_prefix(from)
                .map(|rest| to.join(rest));
            rest.map_or(file.clone(), |path| path.display().to_string())
        };
        match self {
            Self::Io { path, source } => Self::Io {
                path: moved(path.display().to_string()).into(),
                source,
            },
            Self::Broken { file, key, fault } => Self::Broken {
                file: moved(file),
                key,
                fault,
            },
            error => error,
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<'_> {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
