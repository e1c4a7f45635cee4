//! Errors of a stage.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use ar_data::{BatchError, DataError, LatentError};
use ar_model::ModelError;
use ar_pipeline::PipelineError;
use ar_video::VideoError;

/// An error of any kind.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The result of a stage, or of a part of one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a stage cannot start or continue. An interrupt is not an error: see
/// [`Ending`](crate::run::Ending).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is invalid, or names something that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Clips or latents cannot be read or written.
    #[error(transparent)]
    Data(BoxError),
    /// A checkpoint cannot be written, or resumed from.
    #[error("{problem} {}", path.display())]
    Checkpoint {
        /// What cannot be done with the checkpoint.
        problem: &'static str,
        /// The folder of the checkpoint, or a file in it.
        path: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// All checkpoints of a run are damaged.
    #[error("{0}")]
    NoCheckpoint(String),
    /// A file of the run cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// A model directory cannot be read or written.
    #[error(transparent)]
    Model(#[from] Box<ModelError>),
    /// Samples of the network cannot be drawn or written.
    #[error(transparent)]
    Samples(#[from] Box<PipelineError>),
    /// The system has no thread left for a device.
    #[error(
        "cannot start a thread ({0}): raise the limits on processes and memory (`ulimit -u`, `-v`)"
    )]
    NoThread(io::Error),
    /// The processes of a group cannot work together.
    #[error("{0}")]
    Group(String),
    /// The device does not work.
    #[error("the device does not work: {0}")]
    Device(String),
    /// The device has no memory left for a step.
    #[error("the device is out of memory ({message}): {advice}")]
    OutOfMemory {
        /// The device's message.
        message: String,
        /// How to use less memory.
        advice: String,
    },
    /// The loss or the gradient was not finite for too many steps in a row.
    #[error("{0}")]
    Diverged(String),
}

impl Error {
    /// The keys of the configuration that caused the error, with their sections, such as
    /// `run.steps`; empty if it was not the configuration.
    pub fn keys(&self) -> &[String] {
        match self {
            Self::Config(error) => error.keys(),
            _ => &[],
        }
    }

    /// An error about the file at `path`.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// A checkpoint at `path` with a `problem`.
    pub(crate) fn checkpoint<E: Into<BoxError>>(
        problem: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Checkpoint {
            problem,
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}

impl From<PipelineError> for Error {
    fn from(error: PipelineError) -> Self {
        Self::Samples(Box::new(error))
    }
}

impl From<VideoError> for Error {
    fn from(error: VideoError) -> Self {
        PipelineError::from(error).into()
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        Self::Data(error.into())
    }
}

impl From<LatentError> for Error {
    fn from(error: LatentError) -> Self {
        Self::Data(error.into())
    }
}

/// A configuration that is invalid, or names something that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    keys: Vec<String>,
    message: String,
    source: Option<BoxError>,
}

impl ConfigError {
    /// An error that is caused by the values of `keys`.
    pub fn new<K: Into<String>>(keys: impl IntoIterator<Item = K>, message: impl Display) -> Self {
        Self {
            keys: keys.into_iter().map(Into::into).collect(),
            message: message.to_string(),
            source: None,
        }
    }

    /// An error about a text that is not a configuration.
    pub(crate) fn without_key(message: impl Display) -> Self {
        Self::new::<String>([], message)
    }

    /// The same with its cause.
    pub fn because(self, source: impl Into<BoxError>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// The keys that caused the error, with their sections, such as `run.steps`.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

impl From<ModelError> for ConfigError {
    fn from(error: ModelError) -> Self {
        Self::new(error.keys(), error)
    }
}

impl From<DataError> for ConfigError {
    fn from(error: DataError) -> Self {
        match error.files() {
            Some(files) => Self::new(error.keys(), files).because(error),
            None => Self::new(error.keys(), &error),
        }
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        ConfigError::from(error).into()
    }
}

/// Returns a [`ConfigError`] that names keys unless a condition holds.
macro_rules! ensure_config {
    ($holds:expr, $keys:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::error::ConfigError::new($keys, format!($($message)+)).into());
        }
    };
}

pub(crate) use ensure_config;
