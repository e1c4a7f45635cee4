//! Configuration files of the stages.

mod discriminator;
mod optimizer;
mod range;
mod sizes;
mod stage;

use std::path::PathBuf;

use ar_data::DataConfig;
use ar_diffusion::{DiffusionConfig, LossConfig};
use ar_dit::DitConfig;
use ar_files::{expand_home, home_of_another, not_a_home};
pub use ar_model::ComputePrecision;
use ar_model::{ConditioningConfig, LatentScale, SamplingConfig};
use ar_schedulers::{PlannedConfig, TimestepSampler};
use ar_vae::VaeConfig;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::error::{ConfigError, ensure_config};

pub use ar_weights::WeightsLocation;
pub use discriminator::DiscriminatorConfig;
pub use optimizer::{LearningRateSchedule, OptimizerConfig};
pub(crate) use range::not_negative;
pub(crate) use sizes::CheckSizes;
pub use stage::StageConfig;

/// `ar-train vae --config`: trains an AR-VAE on single frames or clips.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaeRun {
    /// Name of the trained model.
    pub name: String,
    /// Which parameters train.
    pub stage: VaeStage,
    /// The model that training starts from: a model directory, `built-in`, a checkpoint of a run (its average), or the
    /// file of a published VAE or image tokenizer; by default, training starts from random weights. The temporal stage
    /// starts from the model or a checkpoint of an image stage.
    pub start_from: Option<PathBuf>,
    /// Whether the backward pass recomputes blocks instead of keeping their activations: layers of
    /// the transformers, residual blocks and upsampling blocks.
    #[serde(alias = "recompute_blocks")]
    pub activation_checkpointing: bool,
    /// The precision that the network computes in. Weights, their average and the optimizer's state are always f32, and
    /// so are LPIPS, the discriminator, the losses and the sum of gradients.
    pub precision: ComputePrecision,
    /// Length and folder of the run.
    pub run: RunConfig,
    /// What to train on.
    pub data: DataConfig,
    /// How to optimise.
    pub optimizer: OptimizerConfig,
    /// What to optimise.
    pub loss: VaeLossConfig,
    /// The network that distinguishes reconstructions from data; by default none.
    pub discriminator: Option<DiscriminatorConfig>,
    /// The network.
    pub vae: VaeConfig,
}

/// Which parameters of a VAE train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VaeStage {
    /// All, on single frames or short clips.
    #[default]
    Image,
    /// Only the temporal blocks, on clips.
    Temporal,
}

/// `ar-train diffusion --config`: trains a transformer on the latents of a VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionRun {
    /// Name of the trained model.
    pub name: String,
    /// Model directory of the VAE, or `built-in`; it becomes part of the trained model.
    pub vae: PathBuf,
    /// The model whose transformer training starts from, with a fresh optimizer and average: a model directory,
    /// `built-in`, a checkpoint of a run (its average), or the file of a published model. By default, training starts
    /// from random weights.
    pub start_from: Option<PathBuf>,
    /// Whether the classes start with fresh context vectors, although `start_from` has some. A model with another
    /// number of classes needs this.
    pub fresh_classes: bool,
    /// Length and folder of the run.
    pub run: RunConfig,
    /// What to train on.
    pub data: DataConfig,
    /// How to optimise.
    pub optimizer: OptimizerConfig,
    /// What to optimise.
    pub loss: LossConfig,
    /// How the timesteps of a clip are drawn (published: `fopp`). `planned` draws them from the plans that sampling
    /// follows, and averages the loss over active frames.
    pub timestep_sampler: TimestepSampler,
    /// The plans that `planned` draws from; their number of steps is `sampling.steps`.
    pub planned: PlannedConfig,
    /// How latents are scaled to the noise (published: `off`). The older key `standardize_latents` is also read, where
    /// true means `channel`.
    #[serde(alias = "standardize_latents", deserialize_with = "latent_scale")]
    pub latent_scale: LatentScale,
    /// Probability that a step cuts its clips into shorter ones, down to single frames (published: 0). FoPP seldom
    /// gives the first frames of a clip much noise, so they stay weak after a short training; with shorter clips there
    /// are more first frames.
    pub short_clips: f64,
    /// Probability of training a clip on the null class instead of its own; 0 for a model without
    /// classes.
    pub context_dropout: f64,
    /// Whether the backward pass recomputes blocks instead of keeping their activations: activations take the memory of
    /// one block, at the cost of one more forward pass.
    #[serde(alias = "recompute_blocks")]
    pub activation_checkpointing: bool,
    /// The precision that the network computes in. Weights, their average and the optimizer's state are always f32, and
    /// so are the loss and the sum of gradients.
    pub precision: ComputePrecision,
    /// The diffusion process.
    pub diffusion: DiffusionConfig,
    /// What the transformer is conditioned on.
    pub conditioning: ConditioningConfig,
    /// The network.
    pub transformer: DitConfig,
    /// Sampling defaults of the trained model.
    pub sampling: SamplingConfig,
}

impl Default for DiffusionRun {
    fn default() -> Self {
        Self {
            name: String::new(),
            vae: PathBuf::new(),
            start_from: None,
            fresh_classes: false,
            run: RunConfig::default(),
            data: DataConfig::default(),
            optimizer: OptimizerConfig::default(),
            loss: LossConfig::default(),
            timestep_sampler: TimestepSampler::Fopp,
            planned: PlannedConfig::default(),
            latent_scale: LatentScale::Off,
            short_clips: 0.0,
            context_dropout: 0.0,
            activation_checkpointing: false,
            precision: ComputePrecision::F32,
            diffusion: DiffusionConfig::default(),
            conditioning: ConditioningConfig::default(),
            transformer: DitConfig::default(),
            sampling: SamplingConfig::default(),
        }
    }
}

fn latent_scale<'de, D: Deserializer<'de>>(from: D) -> Result<LatentScale, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected \"off\", \"global\" or \"channel\"")]
    enum Written {
        Standardize(bool),
        Scale(LatentScale),
    }
    Ok(match Written::deserialize(from)? {
        Written::Standardize(false) => LatentScale::Off,
        Written::Standardize(true) => LatentScale::Channel,
        Written::Scale(scale) => scale,
    })
}

/// `ar-train latents --config`: encodes a dataset with a VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LatentsRun {
    /// Model directory of the VAE, or `built-in`.
    pub vae: PathBuf,
    /// What to encode.
    pub data: DataConfig,
    /// Folder to write.
    pub out: PathBuf,
    /// Clips per file in that folder. After an interrupt, the unfinished file is encoded again.
    pub clips_per_shard: usize,
}

impl Default for LatentsRun {
    fn default() -> Self {
        Self {
            vae: PathBuf::new(),
            data: DataConfig::default(),
            out: PathBuf::new(),
            clips_per_shard: 1024,
        }
    }
}

/// The length of a run, and what it writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Folder of the run.
    pub out: PathBuf,
    /// Optimisation steps.
    pub steps: usize,
    /// Clips that pass through the network together, in each process.
    pub batch_size: usize,
    /// Batches whose gradients are averaged into one step.
    pub accumulate: usize,
    /// Seed of initialisation, data order, timesteps and noise.
    pub seed: u64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Steps between evaluations on validation data; 0 is only at the end.
    pub eval_every: usize,
    /// Steps between samples of the averaged weights, in the run's folder; 0 is never.
    pub sample_every: usize,
    /// Steps between checkpoints; 0 is only at the end.
    pub checkpoint_every: usize,
    /// Number of the newest checkpoints that are kept.
    pub keep_checkpoints: usize,
    /// Steps between checkpoints that are kept for good; 0 keeps none.
    pub keep_every: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            out: PathBuf::from("runs/unnamed"),
            steps: 1000,
            batch_size: 8,
            accumulate: 1,
            seed: 0,
            log_every: 20,
            eval_every: 500,
            sample_every: 0,
            checkpoint_every: 500,
            keep_checkpoints: 2,
            keep_every: 0,
        }
    }
}

impl RunConfig {
    /// Number of clips that a process computes in a step.
    pub fn clips_per_step(&self) -> usize {
        self.batch_size * self.accumulate
    }
}

/// The loss of the VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaeLossConfig {
    /// Weight of the absolute error.
    pub l1: f64,
    /// Weight of the squared error.
    pub l2: f64,
    /// Weight of LPIPS (published: as `l1`), which needs `lpips_weights`; 0 disables it.
    pub lpips: f64,
    /// The range of the frames that LPIPS gets (published: `0..1`).
    pub lpips_range: LpipsRange,
    /// The files with the weights of LPIPS.
    pub lpips_weights: Option<LpipsWeights>,
    /// Weight of the Kullback-Leibler divergence (published: 0).
    pub kl: f64,
    /// Whether to decode a sample of the posterior instead of its mean (published: yes). With a small `kl`, this makes
    /// the latent space smooth, so that small errors of diffusion stay small.
    pub sample_posterior: bool,
    /// Extra weight of pixels that differ from the median colour of their frame: a pixel's weight is
    /// `1 + foreground * |pixel - median|`, normalised to a mean of 1. Above 0, it keeps small objects from drowning in
    /// a plain background.
    pub foreground: f64,
}

impl Default for VaeLossConfig {
    fn default() -> Self {
        Self {
            l1: 1.0,
            l2: 0.0,
            lpips: 0.0,
            lpips_range: LpipsRange::Symmetric,
            lpips_weights: None,
            kl: 0.0,
            sample_posterior: false,
            foreground: 0.0,
        }
    }
}

impl VaeLossConfig {
    /// Checks the weights.
    ///
    /// # Errors
    /// Names the first key that does not fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("loss.l1", self.l1),
            ("loss.l2", self.l2),
            ("loss.lpips", self.lpips),
            ("loss.kl", self.kl),
            ("loss.foreground", self.foreground),
        ] {
            not_negative(key, value)?;
        }
        ensure_config!(
            self.lpips == 0.0 || self.lpips_weights.is_some(),
            ["loss.lpips"],
            "loss.lpips = {} needs [loss.lpips_weights]: vgg = \"vgg16-397923af.pth\" of torchvision \
             (https://download.pytorch.org/models/vgg16-397923af.pth) and linear = \"vgg.pth\" of LPIPS \
             (https://github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1/vgg.pth); or train \
             without it: loss.lpips = 0",
            self.lpips
        );
        Ok(())
    }
}

/// The range of the frames that LPIPS gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LpipsRange {
    /// -1 to 1, as LPIPS was made for.
    #[default]
    #[serde(rename = "-1..1")]
    Symmetric,
    /// 0 to 1, like frames, as in the training of the published tokenizers.
    #[serde(rename = "0..1")]
    Unit,
}

/// The published files for LPIPS, in PyTorch's own format or as safetensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LpipsWeights {
    /// `torchvision`'s VGG16: `vgg16-397923af.pth`.
    pub vgg: WeightsLocation,
    /// LPIPS's own layers: its authors' `weights/v0.1/vgg.pth`.
    pub linear: WeightsLocation,
}

/// Parses a configuration with overrides of the form `key.sub=value`, where the value is TOML or,
/// failing that, a plain string.
///
/// # Errors
/// If the text or an override does not parse, or names an unknown key.
pub fn read_config<C: DeserializeOwned>(
    text: &str,
    overrides: &[String],
) -> Result<C, ConfigError> {
    // Parsed without overrides first, so that messages name the line.
    let config: C = toml::from_str(text).map_err(unreadable)?;
    if overrides.is_empty() && !text.contains('~') {
        // Numbers beyond 63 bits could be read but not be written again.
        let _: Table = toml::from_str(text).map_err(unreadable)?;
        return Ok(config);
    }
    let read = |overrides: &mut dyn Iterator<Item = &String>| {
        let mut table: Table = toml::from_str(text).map_err(unreadable)?;
        for text in overrides {
            set(&mut table, text)?;
        }
        for (key, value) in &mut table {
            expand_homes(key, value)?;
        }
        C::deserialize(table).map_err(misfit)
    };
    read(&mut overrides.iter()).map_err(|error| {
        // The culprit is the one without which the others are valid.
        let culprit = overrides.iter().find(|culprit| {
            let mut others = overrides.iter().filter(|other| other != culprit);
            read(&mut others).is_ok()
        });
        match culprit {
            Some(culprit) => ConfigError::without_key(format!("--set {culprit}")).because(error),
            None => error,
        }
    })
}

/// Expands `~` to the home folder in all paths: no other text starts with `~/`.
fn expand_homes(key: &str, value: &mut Value) -> Result<(), ConfigError> {
    match value {
        Value::String(text) => {
            if let Some(user) = home_of_another(&*text) {
                let message = format!("{key} = {text}: {}", not_a_home(&user));
                return Err(ConfigError::new([key], message));
            }
            if (text == "~" || text.starts_with("~/"))
                && let Some(path) = expand_home(&*text).to_str()
            {
                *text = path.to_owned();
            }
            Ok(())
        }
        Value::Array(values) => values
            .iter_mut()
            .try_for_each(|value| expand_homes(key, value)),
        Value::Table(table) => table
            .iter_mut()
            .try_for_each(|(name, value)| expand_homes(&format!("{key}.{name}"), value)),
        _ => Ok(()),
    }
}

fn unreadable(error: toml::de::Error) -> ConfigError {
    ConfigError::without_key(error)
}

/// An error about a table, which has the key on a separate line instead of an excerpt.
pub(crate) fn misfit(error: toml::de::Error) -> ConfigError {
    ConfigError::without_key(error.to_string().trim_end().replace('\n', ", "))
}

/// Keys that have been renamed, by their last part, with their current names.
const RENAMED: [(&str, &str); 3] = [
    ("standardize_latents", "latent_scale"),
    ("held_out", "validation"),
    ("recompute_blocks", "activation_checkpointing"),
];

/// The current name of a key, sections included: keys of older versions are still read.
pub fn current_key(key: &str) -> String {
    let (sections, last) = match key.rsplit_once('.') {
        Some((sections, last)) => (Some(sections), last),
        None => (None, key),
    };
    let last = current_name(last);
    match sections {
        Some(sections) => format!("{sections}.{last}"),
        None => last.to_owned(),
    }
}

fn current_name(last: &str) -> &str {
    let found = RENAMED.iter().find(|(old, _)| *old == last);
    found.map_or(last, |(_, new)| new)
}

/// Sets a key, and replaces an existing one under any of its names.
fn insert(table: &mut Table, key: &str, value: Value) {
    table.retain(|other, _| current_name(other) != current_name(key));
    table.insert(key.to_owned(), value);
}

fn set(table: &mut Table, text: &str) -> Result<(), ConfigError> {
    let refuse = |why: &str| ConfigError::without_key(format!("--set {text}: {why}"));
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| refuse("expected KEY=VALUE, such as run.steps=500"))?;
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.trim().split('.').collect();
    let last = path.pop().filter(|last| !last.is_empty());
    let last = last.ok_or_else(|| refuse("the key is empty"))?;
    let mut table = table;
    for part in path {
        let entry = table
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()));
        table = entry
            .as_table_mut()
            .ok_or_else(|| refuse(&format!("{part} is a value, not a section")))?;
    }
    insert(table, last, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use ar_vae::ConvVaeConfig;

    #[test]
    fn overrides_reach_into_sections() {
        let overrides = [
            "run.steps=7",
            "run.out=runs/elsewhere",
            "optimizer.schedule=\"cosine\"",
            "vae.channels=[1, 2]",
        ];
        let config: VaeRun = read_config(
            "name = \"test\"\n[vae]\nkind = \"conv\"",
            &overrides.map(String::from),
        )
        .expect("a configuration");
        assert_eq!(config.name, "test");
        assert_eq!(config.run.steps, 7);
        assert_eq!(config.run.out, PathBuf::from("runs/elsewhere"));
        let home = std::env::home_dir().expect("a home");
        for (text, overrides) in [
            ("[run]\nout = \"~/r\"\n", &[][..]),
            ("", &["run.out=~/r".to_owned()]),
        ] {
            let config: VaeRun = read_config(text, overrides).expect("a configuration");
            assert_eq!(config.run.out, home.join("r"));
        }
        assert_eq!(config.optimizer.schedule, LearningRateSchedule::Cosine);
        let conv = ConvVaeConfig {
            channels: vec![1, 2],
            ..ConvVaeConfig::default()
        };
        assert_eq!(config.vae, VaeConfig::Conv(conv));
    }

    #[test]
    fn keys_keep_their_old_names() {
        for file in ["held_out", "validation"] {
            for set in ["held_out", "validation"] {
                let text = format!("[data]\n{file} = 3\n");
                let read = |overrides: &[String]| read_config::<VaeRun>(&text, overrides);
                assert_eq!(read(&[]).expect("a configuration").data.validation, 3);
                let config = read(&[format!("data.{set}=5")]).expect("a configuration");
                assert_eq!(config.data.validation, 5, "{file} {set}");
            }
        }
        // Each is an alias of the name that it has here.
        for (old, new) in RENAMED {
            let (section, value) = match old {
                "held_out" => ("data.", "3"),
                _ => ("", "true"),
            };
            let [old, new] = [old, new].map(|name| {
                let overrides = [format!("{section}{name}={value}")];
                read_config::<DiffusionRun>("", &overrides).expect("a configuration")
            });
            assert_eq!(old, new);
            assert_ne!(old, DiffusionRun::default());
        }
    }

    #[test]
    fn unknown_keys_are_errors_that_name_them() {
        let message = |text: &str, overrides: &[String]| {
            let error = read_config::<VaeRun>(text, overrides).unwrap_err();
            match error.source() {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }
        };
        let in_file = message("[run]\nstep = 3\n", &[]);
        assert!(
            in_file.contains("line 2") && in_file.contains("`step`"),
            "{in_file}"
        );
        let in_override = message("", &["run.steps=2".into(), "optimizer.lr=1".into()]);
        assert!(
            in_override.contains("--set optimizer.lr=1"),
            "{in_override}"
        );
        assert!(in_override.contains("`lr`"), "{in_override}");
        assert!(message("", &["steps".into()]).contains("KEY=VALUE"));
        // One line each.
        let wrong = message("", &["run.steps=many".into()]);
        let expected = "--set run.steps=many: invalid type: string \"many\", expected usize, in \
                        `run.steps`";
        assert_eq!(wrong, expected);
    }
}
