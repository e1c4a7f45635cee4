//! What a stage can start from: a model directory, the built-in model, a checkpoint of a run, or a
//! published file.

use std::path::{Path, PathBuf};

use ar_model::{ModelConfig, open_checkpoint};
use ar_pipeline::{ModelSource, PipelineError};
use ar_weights::{Checkpoint, WeightsLocation, names_weights};

use crate::checkpoint::is_checkpoint;
use crate::error::{BoxError, ConfigError};

/// Weights to start from.
pub(crate) struct Source {
    /// The configuration of the model directory or the run; a published file has none.
    pub config: Option<ModelConfig>,
    pub weights: Checkpoint,
}

impl Source {
    /// Opens the model at `path`; `part` opens the stage's part of a model, and `average` reads the
    /// averaged weights of a checkpoint of a run.
    ///
    /// # Errors
    /// If there is no model, or it does not have the part.
    pub(crate) fn open(
        path: &Path,
        part: impl FnOnce(&ModelSource) -> Result<Checkpoint, PipelineError>,
        average: impl FnOnce(&Path) -> Result<Self, BoxError>,
    ) -> Result<Self, BoxError> {
        if is_checkpoint(path) {
            return average(path);
        }
        if let Some(file) = published_file(path)? {
            return Ok(Self {
                config: None,
                weights: open_checkpoint(file)?,
            });
        }
        let source = ModelSource::from(path);
        Ok(Self {
            config: Some(source.config()?),
            weights: part(&source)?,
        })
    }
}

/// The file at `path`, local or on the hub; None for anything else.
fn published_file(path: &Path) -> Result<Option<PathBuf>, BoxError> {
    if path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    match path.to_str().map(str::parse) {
        Some(Ok(location @ WeightsLocation::Hub { .. })) if names_weights(path) => {
            Ok(Some(location.path()?))
        }
        _ => Ok(None),
    }
}

/// The message for a stage that starts from `path`; `taken` describes the weights that it took
/// over.
pub(crate) fn started(path: &Path, taken: &str) -> String {
    let which = if is_checkpoint(path) {
        "the averaged weights of "
    } else {
        ""
    };
    format!("starts from {which}{}: {taken}", path.display())
}

/// An error about the key `start_from`.
pub(crate) fn cannot_start(path: &Path) -> impl Fn(BoxError) -> ConfigError + '_ {
    move |error| {
        ConfigError::new(["start_from"], format!("start_from = {}", path.display())).because(error)
    }
}

/// A list of tensors by name; only the first few if there are many.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// One line that says what was taken over and what was not.
pub(crate) fn outcome(not_taken: &[String], fresh: &[String]) -> String {
    let mut parts = Vec::new();
    for (what, names) in [("not taken", not_taken), ("fresh", fresh)] {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", listed(names)));
        }
    }
    if parts.is_empty() {
        "all weights".into()
    } else {
        format!("all weights but these: {}", parts.join("; "))
    }
}
