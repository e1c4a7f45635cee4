//! Starting a diffusion stage from another model.

use std::path::Path;

use ar_dit::{DitConfig, PositionEmbedding};
use ar_model::{
    ClassRows, ConditioningConfig, LatentStatistics, ModelConfig, TRANSFORMER_KEYS, Transformer,
};
use ar_weights::{Checkpoint, file_shapes, load_checkpoint};
use burn::module::Module;
use burn::tensor::Device;

use super::settings::{model_config, read_statistics};
use crate::checkpoint::{load_average, read_config};
use crate::config::DiffusionRun;
use crate::error::{BoxError, ConfigError};
use crate::start_from::{Part, Source, VAE_INSIDE, cannot_start, differences, outcome};

/// The keys of context vectors.
const CONTEXT: [&str; 2] = ["context_emb", "class_emb"];

/// The first layer of a published checkpoint, `[width, channels]`.
const EMBEDDING: &str = "diffusion_model.model.x_embedder.weight";

/// A published checkpoint's positions, `[1, frames * tokens, width]`.
const POSITIONS: &str = "diffusion_model.model.pos_embed";

/// What a stage starts with.
pub(super) struct Start {
    pub transformer: Transformer,
    /// The scale of latents that the transformer knows.
    pub statistics: Option<LatentStatistics>,
    /// A description of what was taken over.
    pub taken: String,
}

/// Loads the weights at `path` into `fresh`, as far as they belong to the same network; `conditioning` also has the
/// class names of the data.
///
/// # Errors
/// If they cannot be read, or belong to another network.
pub(super) fn start(
    path: &Path,
    mut fresh: Transformer,
    config: &DiffusionRun,
    conditioning: &ConditioningConfig,
) -> Result<Start, ConfigError> {
    let cannot_start = cannot_start(path);
    let average = |folder: &Path| average(folder, &fresh.devices()[0]);
    let source = Source::open(path, Part::Transformer, average).map_err(&cannot_start)?;
    let mut weights = source.weights;
    weights.retain(|key| !key.starts_with(VAE_INSIDE));
    let (class_rows, classes) = match &source.config {
        Some(found) => {
            check(found, config).map_err(&cannot_start)?;
            let found = &found.conditioning;
            (found.class_rows, &found.class_names[..])
        }
        None => {
            check_width(&weights, &config.transformer).map_err(&cannot_start)?;
            check_positions(&weights, &config.transformer).map_err(&cannot_start)?;
            (ClassRows::Published, &[][..])
        }
    };
    // A row belongs to the class at its position: unknown names may be the same.
    let wanted_classes = &conditioning.class_names[..];
    let same_classes = classes.is_empty() || wanted_classes.is_empty() || classes == wanted_classes;

    let shapes = file_shapes(&fresh, TRANSFORMER_KEYS);
    let (mut not_taken, mut missing) = (Vec::new(), Vec::new());
    for key in CONTEXT {
        let wanted = shapes.get(key).map(|shape| &shape[..]);
        let found = weights.shape(key);
        let same_rows =
            key != "class_emb" || (class_rows == conditioning.class_rows && same_classes);
        if wanted == found && same_rows {
            continue;
        }
        if let Some(shape) = found {
            let reason = match (wanted == found, same_classes) {
                (true, false) => format!(", whose classes are {}", classes.join(", ")),
                (true, true) => ", whose rows are in another order".to_owned(),
                _ if key == "class_emb" && wanted.is_some() => {
                    let classes = shape.first().map_or(0, |rows| rows.saturating_sub(1));
                    format!(", which conditioning.classes = {classes} would take")
                }
                _ => String::new(),
            };
            not_taken.push(format!("{key} {shape:?}{reason}"));
        }
        if let Some(shape) = wanted {
            missing.push(format!("{key} {shape:?}"));
        }
        weights.retain(|other| other != key);
    }
    let is_context = |key: &str| CONTEXT.contains(&key);
    load_checkpoint(&mut fresh, &weights, TRANSFORMER_KEYS, is_context)
        .map_err(|error| cannot_start(error.into()))?;
    Ok(Start {
        transformer: fresh,
        statistics: source.config.and_then(|found| found.latent_statistics),
        taken: outcome(&not_taken, &missing),
    })
}

/// The averaged transformer of the checkpoint in `folder`, as in the model directory of its run.
fn average(folder: &Path, device: &Device) -> Result<Source, BoxError> {
    let run: DiffusionRun = read_config(folder)?;
    let transformer = Transformer::new(&run.transformer, &run.conditioning, device)?;
    let transformer = load_average(&transformer, folder)?;
    let config = ModelConfig {
        latent_statistics: read_statistics(folder)?,
        ..model_config(&run)
    };
    let name = folder.display().to_string();
    Ok(Source {
        config: Some(config),
        weights: Checkpoint::of(&transformer, TRANSFORMER_KEYS, name),
    })
}

/// Checks that the weights of the model `found` fit the configured network, which may be for clips of another length if
/// positions allow it.
fn check(found: &ModelConfig, config: &DiffusionRun) -> Result<(), BoxError> {
    let wanted = &config.transformer;
    let dit = found.transformer.as_ref().ok_or("no transformer")?;
    let of_length = DitConfig {
        num_frames: wanted.num_frames,
        ..dit.clone()
    };
    if of_length != *wanted {
        let differences = differences("transformer", &of_length, wanted)?;
        let message = "its transformer is not the network that [transformer] describes";
        return Err(format!("{message}: {differences}").into());
    }
    let (has, wants) = (&found.diffusion, &config.diffusion);
    if has.parameterization != wants.parameterization {
        let name = |of| toml::Value::try_from(of).map(|value| value.to_string());
        return Err(format!(
            "its transformer predicts {} and diffusion.parameterization = {}; they must be equal",
            name(has.parameterization)?,
            name(wants.parameterization)?
        )
        .into());
    }
    if has.schedule != wants.schedule {
        let differences = differences("diffusion.schedule", &has.schedule, &wants.schedule)?;
        return Err(format!("it was trained with another noise schedule: {differences}").into());
    }
    check_length(dit.num_frames, wanted)
}

/// Checks the width of a published checkpoint, which nearly all of its tensors follow from.
fn check_width(weights: &Checkpoint, wanted: &DitConfig) -> Result<(), BoxError> {
    let expected = [wanted.hidden_size, wanted.in_channels];
    match weights.shape(EMBEDDING) {
        Some(&[width, channels]) if [width, channels] != expected => Err(format!(
            "{EMBEDDING} has shape {:?} and should have {expected:?}: set transformer.hidden_size = {width} \
             and transformer.in_channels = {channels}, or name the file of another network",
            [width, channels]
        )
        .into()),
        _ => Ok(()),
    }
}

/// Checks the length of clips against the positions of a published checkpoint; its tensors are
/// checked when they are loaded.
fn check_positions(weights: &Checkpoint, wanted: &DitConfig) -> Result<(), BoxError> {
    match weights.shape(POSITIONS) {
        Some([_, positions, _]) => check_length(positions / wanted.tokens_per_frame, wanted),
        _ => Ok(()),
    }
}

fn check_length(frames: usize, wanted: &DitConfig) -> Result<(), BoxError> {
    if wanted.num_frames <= frames || wanted.positions == PositionEmbedding::FrameRotary {
        return Ok(());
    }
    Err(format!(
        "its transformer knows positions of {frames} frames and transformer.num_frames = {}; longer \
         clips are for positions = \"frame_rotary\"",
        wanted.num_frames
    )
    .into())
}
