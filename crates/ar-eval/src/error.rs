use std::io;
use std::path::{Path, PathBuf};

use ar_data::VideoFolderError;
use ar_data::shapes::ShapesError;
use ar_metrics::MetricError;
use ar_model::ModelError;
use ar_pipeline::PipelineError;
use ar_video::VideoError;
use ar_weights::WeightsError;
use burn_dataset::DatasetError;

/// An evaluation that cannot be made. Messages name options as `samples` and `prefix_frames`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// The model cannot be read, or cannot sample as requested.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The model cannot do what was requested.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A clip cannot be written.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// The weights of a published network cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The world of shapes cannot be drawn.
    #[error(transparent)]
    Shapes(#[from] ShapesError),
    /// A folder of videos cannot be used.
    #[error(transparent)]
    VideoFolder(#[from] VideoFolderError),
    /// A clip cannot be read.
    #[error("clip {clip} of {data}: {source}")]
    Clip {
        /// The number of the clip.
        clip: usize,
        /// The name of the data.
        data: String,
        /// What is wrong.
        source: DatasetError,
    },
    /// Sets of clips cannot be compared.
    #[error("`{metric}`: {source}")]
    Statistics {
        /// The metric.
        metric: &'static str,
        /// What is wrong.
        source: MetricError,
    },
    /// Measures that were read back do not belong to their metric.
    #[error("the measures of {clips} by `{metric}` are damaged: {source}; measure them again")]
    Measures {
        /// The metric.
        metric: &'static str,
        /// The source of the clips.
        clips: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A network outputs NaN or infinity.
    #[error("`{metric}` gives features that are not finite: check the weights")]
    NotFinite {
        /// The metric.
        metric: &'static str,
    },
    /// An option has an invalid value.
    #[error("`{option}` {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// The value, and what would be right.
        reason: String,
    },
    /// A metric does not apply to the clips, or something is missing for it.
    #[error("`metrics`: `{metric}` {reason}")]
    Metric {
        /// The metric.
        metric: &'static str,
        /// What is missing.
        reason: String,
    },
    /// The data cannot be compared with.
    #[error("{name}: {reason}")]
    Data {
        /// The configuration file.
        name: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The configuration of the data cannot be parsed.
    #[error("{name}: {source}")]
    Config {
        /// The configuration file.
        name: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The folder has clips that were measured in a different way.
    #[error(
        "{} holds another evaluation ({difference}); choose another `out`, or remove that folder",
        folder.display()
    )]
    OtherEvaluation {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A file of an evaluation is damaged.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// A plot cannot be drawn.
    #[error("cannot draw: {0}")]
    Plot(String),
}

impl EvaluationError {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn option(option: &'static str, reason: impl Into<String>) -> Self {
        Self::Option {
            option,
            reason: reason.into(),
        }
    }

    pub(crate) fn data(name: &str, reason: impl Into<String>) -> Self {
        Self::Data {
            name: name.into(),
            reason: reason.into(),
        }
    }
}
