//! What a stage can start from: a model directory, the built-in model, a checkpoint of a run, or a
//! published file.

use std::fmt;
use std::path::{Path, PathBuf};

use ar_files::{MOST_TEXT, read_text};
use ar_model::{ModelConfig, ModelError, NetworkKind, open_checkpoint};
use ar_pipeline::{ModelSource, PipelineError};
use ar_weights::{Checkpoint, WeightsLocation, names_weights};
use serde::Serialize;
use toml::{Table, Value};

use crate::checkpoint::{Checkpoints, is_checkpoint};
use crate::error::{BoxError, ConfigError};

/// The prefix of a VAE's tensors in the file of a diffusion model.
pub(crate) const VAE_INSIDE: &str = "vae.";

/// Weights to start from.
pub(crate) struct Source {
    /// The configuration of the model directory or the run; a published file has none.
    pub config: Option<ModelConfig>,
    pub weights: Checkpoint,
}

/// The network that a stage trains and starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Transformer,
    Vae,
}

impl Part {
    /// The kind of network in a published file.
    fn kind(self) -> NetworkKind {
        match self {
            Self::Transformer => NetworkKind::Diffusion,
            Self::Vae => NetworkKind::Vae,
        }
    }

    fn is_in(self, config: &ModelConfig) -> bool {
        match self {
            Self::Transformer => config.transformer.is_some(),
            Self::Vae => config.vae.is_some(),
        }
    }

    fn of(self, source: &ModelSource) -> Result<Checkpoint, PipelineError> {
        match self {
            Self::Transformer => source.transformer(),
            Self::Vae => source.vae(),
        }
    }

    /// The stage that trains it.
    fn stage(self) -> &'static str {
        match self {
            Self::Transformer => "diffusion",
            Self::Vae => "vae",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Transformer => Self::Vae,
            Self::Vae => Self::Transformer,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transformer => "transformer",
            Self::Vae => "VAE",
        })
    }
}

impl Source {
    /// Opens the `part` of the model at `path`; `average` reads the averaged weights from a run's checkpoint.
    ///
    /// # Errors
    /// If there is no model, or it does not have the part.
    pub(crate) fn open(
        path: &Path,
        part: Part,
        average: impl FnOnce(&Path) -> Result<Self, BoxError>,
    ) -> Result<Self, BoxError> {
        if is_checkpoint(path) {
            check_stage(path, part)?;
            return average(path);
        }
        if let Some(file) = published_file(path)? {
            let weights = open_checkpoint(file)?;
            check_kind(&weights, part)?;
            return Ok(Self {
                config: None,
                weights,
            });
        }
        let source = ModelSource::from(path);
        let config = source.config().map_err(|error| match error {
            PipelineError::Model(ModelError::NotAModel { .. } | ModelError::RunFolder { .. }) => {
                let better = checkpoints_in(path, part).or_else(|| missing(path));
                better.unwrap_or_else(|| error.into())
            }
            error => error.into(),
        })?;
        if !part.is_in(&config) {
            return Err(format!(
                "the model has a {} but no {part}: name a model of `ar-train {}`, such as \
                 runs/NAME/model",
                part.other(),
                part.stage()
            )
            .into());
        }
        Ok(Self {
            config: Some(config),
            weights: part.of(&source)?,
        })
    }
}

/// Fails if a published file holds something else than `part`; a VAE may be in the file of a diffusion
/// model.
fn check_kind(file: &Checkpoint, part: Part) -> Result<(), ModelError> {
    let found = NetworkKind::of(file);
    let is_right = match part {
        Part::Transformer => found == Some(NetworkKind::Diffusion),
        Part::Vae => {
            let is_vae = found.is_some_and(|found| found != NetworkKind::Diffusion);
            is_vae || NetworkKind::of(&file.below(VAE_INSIDE)).is_some()
        }
    };
    if is_right {
        return Ok(());
    }
    part.kind().check(file, |found| match found {
        NetworkKind::Diffusion => {
            "`ar-train diffusion` starts from it; give the file of its VAE".into()
        }
        _ => "`ar-train vae` starts from it; give the file of a diffusion model".into(),
    })
}

/// Fails if the checkpoint in `folder` is from a stage that does not train `part`.
fn check_stage(folder: &Path, part: Part) -> Result<(), BoxError> {
    let text = read_text(folder.join("config.toml"), MOST_TEXT)?;
    let Ok(config) = toml::from_str::<toml::Table>(&text) else {
        // It is damaged, which is reported where it is read.
        return Ok(());
    };
    let of_diffusion = config.contains_key("transformer");
    if of_diffusion == (part == Part::Transformer) {
        return Ok(());
    }
    let (is, other) = (part.other().stage(), part.stage());
    Err(format!(
        "the run is of the stage {is}, which has no {part}: name a model or a checkpoint of `ar-train \
         {other}`"
    )
    .into())
}

/// The error for the folder of a run or of its checkpoints, or for a checkpoint that is not there; it names the
/// newest checkpoint.
fn checkpoints_in(path: &Path, part: Part) -> Option<BoxError> {
    let holds_checkpoints =
        |path: &Path| path.file_name().is_some_and(|name| name == "checkpoints");
    let parent = path.parent();
    let (run, what) = if holds_checkpoints(path) {
        (parent?, "is where a run keeps its checkpoints: name ")
    } else if parent.is_some_and(holds_checkpoints) && !path.exists() {
        (
            parent?.parent()?,
            "is not there (run.keep_every keeps checkpoints for good): name ",
        )
    } else {
        (path, "is the folder of a run: name ")
    };
    let newest = Checkpoints::new(run).newest().ok()??;
    if let Err(error) = check_stage(&newest, part) {
        return Some(error);
    }
    let model = run.join("model");
    let or_model = if model.is_dir() {
        format!("its model, {}, or ", model.display())
    } else {
        String::new()
    };
    Some(
        format!(
            "{} {what}{or_model}a checkpoint, such as {}",
            path.display(),
            newest.display()
        )
        .into(),
    )
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

/// An error for a path that is not there.
fn missing(path: &Path) -> Option<BoxError> {
    if path.exists() || path.to_str().is_none_or(|path| path.contains("://")) {
        return None;
    }
    let is = if names_weights(path) {
        "there is no such file: published checkpoints and tokenizers have to be downloaded first"
    } else {
        "there is no such folder: name a model directory, a checkpoint of a run, a published file or `built-in`"
    };
    Some(is.into())
}

/// The keys of a `section` in which the network `found` differs from the one `wanted`, and what to do.
pub(crate) fn differences(
    section: &str,
    found: &impl Serialize,
    wanted: &impl Serialize,
) -> Result<String, toml::ser::Error> {
    let [found, wanted] = [Table::try_from(found)?, Table::try_from(wanted)?];
    let mut told = Vec::new();
    differing(section, &found, &wanted, &mut told);
    let first = told.first().map_or("", |(setting, _)| setting);
    let told: Vec<_> = told
        .iter()
        .map(|(setting, here)| format!("{setting} there and {here} here"))
        .collect();
    Ok(format!(
        "{}: change the configuration, as with --set {}, or name another model",
        told.join(", "),
        first.replace(' ', "")
    ))
}

fn differing(section: &str, found: &Table, wanted: &Table, told: &mut Vec<(String, String)>) {
    for key in found
        .keys()
        .chain(wanted.keys().filter(|key| !found.contains_key(*key)))
    {
        match (found.get(key), wanted.get(key)) {
            (Some(Value::Table(found)), Some(Value::Table(wanted))) => {
                differing(&format!("{section}.{key}"), found, wanted, told);
            }
            (found, wanted) if found != wanted => {
                let text =
                    |value: Option<&Value>| value.map_or("none".to_owned(), Value::to_string);
                told.push((format!("{section}.{key} = {}", text(found)), text(wanted)));
            }
            _ => {}
        }
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
