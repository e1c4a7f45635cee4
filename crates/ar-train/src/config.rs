//! Configuration files of the stages.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ar_data::{Labels, MovingMnistConfig, ShapesConfig, VideoFolderConfig};
use ar_diffusion::{DiffusionConfig, LossConfig};
use ar_dit::DitConfig;
use ar_model::{ConditioningConfig, SamplingConfig};
use ar_schedulers::TimestepSampler;
use ar_vae::VaeConfig;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// `ar-train vae --config`: trains an AR-VAE on single frames or clips.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaeRun {
    /// What the trained model is called.
    pub name: String,
    /// How long, and where to.
    pub run: RunConfig,
    /// What to train on.
    pub data: DataConfig,
    /// How to optimise.
    pub optimizer: OptimizerConfig,
    /// What to optimise.
    pub loss: VaeLossConfig,
    /// The network.
    pub vae: VaeConfig,
}

/// `ar-train diffusion --config`: trains a transformer on the latents of a VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionRun {
    /// What the trained model is called.
    pub name: String,
    /// Model directory of the VAE; it becomes part of the trained model.
    pub vae: PathBuf,
    /// How long, and where to.
    pub run: RunConfig,
    /// What to train on.
    pub data: DataConfig,
    /// How to optimise.
    pub optimizer: OptimizerConfig,
    /// What to optimise.
    pub loss: LossConfig,
    /// How the timesteps of a clip are drawn.
    pub timestep_sampler: TimestepSampler,
    /// Whether latents are standardised by token and channel; the published models do not.
    pub standardize_latents: bool,
    /// Probability of a step on clips cut into shorter ones, down to single frames; the published
    /// models do not. FoPP seldom gives the first frames of a clip much noise, so that a short
    /// training leaves beginnings weak: a shorter clip has more of them.
    pub short_clips: f64,
    /// Probability of training a clip on the null context in place of its own.
    pub context_dropout: f64,
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
            run: RunConfig::default(),
            data: DataConfig::default(),
            optimizer: OptimizerConfig::default(),
            loss: LossConfig::default(),
            timestep_sampler: TimestepSampler::Fopp,
            standardize_latents: false,
            short_clips: 0.0,
            context_dropout: 0.0,
            diffusion: DiffusionConfig::default(),
            conditioning: ConditioningConfig::default(),
            transformer: DitConfig::default(),
            sampling: SamplingConfig::default(),
        }
    }
}

/// `ar-train latents --config`: encodes a dataset with a VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LatentsRun {
    /// Model directory of the VAE.
    pub vae: PathBuf,
    /// What to encode.
    pub data: DataConfig,
    /// Folder to write.
    pub out: PathBuf,
    /// Clips of a file in that folder. An interrupted run starts its last file anew.
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

/// How long a run is and what it leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Folder of the run.
    pub out: PathBuf,
    /// Optimisation steps.
    pub steps: usize,
    /// Clips a step.
    pub batch_size: usize,
    /// Seed of initialisation, data order, timesteps and noise.
    pub seed: u64,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: usize,
    /// Steps between measurements on held-out data; 0 is never.
    pub eval_every: usize,
    /// Steps between checkpoints; 0 is at the end only.
    pub checkpoint_every: usize,
    /// Newest checkpoints that are kept.
    pub keep_checkpoints: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            out: PathBuf::from("runs/unnamed"),
            steps: 1000,
            batch_size: 8,
            seed: 0,
            log_every: 20,
            eval_every: 500,
            checkpoint_every: 500,
            keep_checkpoints: 2,
        }
    }
}

/// What to train on: exactly one of `shapes`, `moving_mnist`, `videos` and `latents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Clips drawn of a synthetic world: `shapes` or `moving_mnist`.
    pub clips: usize,
    /// Seed of the first clip of a synthetic world.
    pub first_seed: u64,
    /// Clips at the end of the dataset that are held out for measuring.
    pub held_out: usize,
    /// Threads that read ahead of training. Their number changes no batch.
    pub workers: usize,
    /// Batches that wait for training at most.
    pub prefetch: usize,
    /// Whether clips are mirrored left to right at random (not those held out).
    pub flip: bool,
    /// Classes of the videos at `path`, or of `.npy` latents: `"folders"`, or a CSV file with the columns `path` and
    /// `class`.
    pub labels: Option<Labels>,
    /// The world of bouncing shapes.
    pub shapes: Option<ShapesConfig>,
    /// Moving digits, drawn from the MNIST files.
    pub moving_mnist: Option<MovingMnistConfig>,
    /// Folder of videos, or one video; read as `videos` says.
    pub path: Option<PathBuf>,
    /// How clips are cut out of the videos at `path`.
    pub videos: Option<VideoFolderConfig>,
    /// Folder that `ar-train latents` has written, or a folder of `.npy` files of the reference
    /// implementation (diffusion only).
    pub latents: Option<PathBuf>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            clips: 4096,
            first_seed: 0,
            held_out: 16,
            workers: 2,
            prefetch: 4,
            flip: false,
            labels: None,
            shapes: None,
            moving_mnist: None,
            path: None,
            videos: None,
            latents: None,
        }
    }
}

/// AdamW, learning-rate schedule, clipping and averaging. Defaults are the published ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises linearly from 0.
    pub warmup_steps: usize,
    /// How the learning rate falls after the warm-up.
    pub schedule: LearningRateSchedule,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// AdamW's decay of the first moment.
    pub beta_1: f32,
    /// AdamW's decay of the second moment.
    pub beta_2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// Largest norm of the gradient over all trained parameters; 0 is no clipping.
    pub clip_norm: f64,
    /// Largest decay of the moving average of the weights; after n steps it is
    /// `min(ema_decay, (1 + n) / (10 + n))`.
    pub ema_decay: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 2e-4,
            warmup_steps: 0,
            schedule: LearningRateSchedule::Constant,
            weight_decay: 1e-4,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            clip_norm: 1.0,
            ema_decay: 0.9999,
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateSchedule {
    /// Not at all.
    #[default]
    Constant,
    /// Half a cosine to 0 at the last step.
    Cosine,
    /// A line to 0 at the last step.
    Linear,
}

impl OptimizerConfig {
    /// The learning rate of `step` (from 0) of a run of `steps` steps.
    pub fn learning_rate_at(&self, step: usize, steps: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let length = steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / length as f64).min(1.0);
        self.learning_rate
            * match self.schedule {
                LearningRateSchedule::Constant => 1.0,
                LearningRateSchedule::Cosine => {
                    0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
                }
                LearningRateSchedule::Linear => 1.0 - progress,
            }
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
    /// Weight of the Kullback-Leibler divergence (published: 0).
    pub kl: f64,
    /// Whether to decode a draw from the posterior in place of its mean (published: no). With a
    /// small `kl` it makes the latent space smooth, so that small errors of diffusion stay small.
    pub sample_posterior: bool,
    /// Extra weight of pixels that differ from the median colour of their frame: a pixel's
    /// weight is `1 + foreground * |pixel - median|`, normalised to a mean of 1. Above 0 it keeps
    /// small objects from drowning in a plain background.
    pub foreground: f64,
}

impl Default for VaeLossConfig {
    fn default() -> Self {
        Self {
            l1: 1.0,
            l2: 0.0,
            kl: 0.0,
            sample_posterior: false,
            foreground: 0.0,
        }
    }
}

/// Parses a configuration with overrides of the form `key.sub=value`, where the value is TOML or,
/// failing that, a plain string.
///
/// # Errors
/// If the text or an override does not parse, or names an unknown key.
pub fn read_config<C: DeserializeOwned>(text: &str, overrides: &[String]) -> Result<C> {
    // Parsed as it stands first: then messages name the line.
    let config: C = toml::from_str(text)?;
    if overrides.is_empty() {
        return Ok(config);
    }
    let mut table: toml::Table = toml::from_str(text)?;
    for text in overrides {
        set(&mut table, text)?;
    }
    Ok(C::deserialize(table)?)
}

fn set(table: &mut toml::Table, text: &str) -> Result<()> {
    let (key, value) = text
        .split_once('=')
        .with_context(|| format!("--set {text}: expected KEY=VALUE, such as run.steps=500"))?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.trim().split('.').collect();
    let last = path.pop().filter(|last| !last.is_empty());
    let Some(last) = last else {
        bail!("--set {text}: the key is empty");
    };
    let mut table = table;
    for part in path {
        let entry = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry
            .as_table_mut()
            .with_context(|| format!("--set {text}: {part} is a value, not a section"))?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
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
        assert_eq!(config.optimizer.schedule, LearningRateSchedule::Cosine);
        let conv = ConvVaeConfig {
            channels: vec![1, 2],
            ..ConvVaeConfig::default()
        };
        assert_eq!(config.vae, VaeConfig::Conv(conv));
    }

    #[test]
    fn unknown_keys_are_errors_that_name_them() {
        let message = |text: &str, overrides: &[String]| {
            format!("{:#}", read_config::<VaeRun>(text, overrides).unwrap_err())
        };
        let in_file = message("[run]\nstep = 3\n", &[]);
        assert!(
            in_file.contains("line 2") && in_file.contains("`step`"),
            "{in_file}"
        );
        let in_override = message("", &["optimizer.lr=1".into()]);
        assert!(in_override.contains("`lr`"), "{in_override}");
        assert!(message("", &["steps".into()]).contains("KEY=VALUE"));
    }

    #[test]
    fn the_learning_rate_warms_up_and_falls() {
        let config = OptimizerConfig {
            learning_rate: 1.0,
            warmup_steps: 10,
            schedule: LearningRateSchedule::Cosine,
            ..OptimizerConfig::default()
        };
        let at = |step| config.learning_rate_at(step, 110);
        assert_eq!(at(0), 0.1);
        assert_eq!(at(10), 1.0);
        assert!((at(60) - 0.5).abs() < 1e-12);
        assert!(at(109) < 1e-3);
    }
}
