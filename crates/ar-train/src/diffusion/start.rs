//! Starting a diffusion stage from another model.

use std::path::Path;

use ar_dit::{DitConfig, PositionEmbedding};
use ar_model::{
    ClassRows, ConditioningConfig, LatentStatistics, ModelConfig, TRANSFORMER_KEYS, Transformer,
};
use ar_pipeline::ModelSource;
use ar_weights::{Checkpoint, file_shapes, load_checkpoint};
use burn::module::Module;
use burn::tensor::Device;

use super::settings::{model_config, read_statistics};
use crate::checkpoint::{CheckpointState, is_checkpoint, load_average, read_config};
use crate::config::DiffusionRun;
use crate::error::{BoxError, ConfigError};
use crate::latents::checksum_of_vae;
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
    /// The checksum of the VAE whose latents the transformer knows, if it is recorded.
    pub vae: Option<String>,
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
    let vae = vae_of(path, source.config.as_ref(), config).map_err(&cannot_start)?;
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
        let of_classes = key == "class_emb";
        let is_wanted = !of_classes
            || (class_rows == conditioning.class_rows && same_classes && !config.fresh_classes);
        if wanted == found && is_wanted {
            continue;
        }
        if let Some(shape) = found {
            let reason = match wanted {
                Some(wanted) if of_classes && !config.fresh_classes => {
                    check_classes(key, shape, wanted).map_err(&cannot_start)?;
                    if same_classes {
                        ", whose rows are in another order".to_owned()
                    } else {
                        format!(", whose classes are {}", classes.join(", "))
                    }
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
        vae,
    })
}

/// The checksum of the VAE whose latents the model at `path` knows: a model directory has the VAE, and a checkpoint its
/// checksum. It is not known for published files, and not read again for the VAE of the run.
fn vae_of(
    path: &Path,
    found: Option<&ModelConfig>,
    config: &DiffusionRun,
) -> Result<Option<String>, BoxError> {
    if is_checkpoint(path) {
        return Ok(CheckpointState::read(path)?.vae);
    }
    let is_on_hub = matches!(ModelSource::from(path), ModelSource::Hub(_));
    let has_vae = found.is_some_and(|found| found.vae.is_some());
    if !has_vae || is_on_hub || path == config.vae {
        return Ok(None);
    }
    Ok(Some(checksum_of_vae(path)?))
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

/// Checks that the context vectors of as many classes are there as are wanted.
fn check_classes(key: &str, found: &[usize], wanted: &[usize]) -> Result<(), BoxError> {
    if found == wanted {
        return Ok(());
    }
    let classes = found.first().map_or(0, |rows| rows.saturating_sub(1));
    let take = if found.get(1..) == wanted.get(1..) {
        format!("set conditioning.classes = {classes} to take it, or ")
    } else {
        String::new()
    };
    Err(format!(
        "{key} has shape {found:?} and should have {wanted:?}: {take}fresh_classes = true to start with new \
         classes"
    )
    .into())
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
