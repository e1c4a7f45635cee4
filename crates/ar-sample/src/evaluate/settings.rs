//! What `evaluate` is asked to do, checked before anything is computed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{bail, ensure};
use ar_data::{DataConfig, VideoFolder, VideoFolderConfig};
use ar_diffusion::SamplerConfig;
use ar_metrics::SSIM_WINDOW;
use ar_model::ModelConfig;
use ar_pipeline::{ModelSource, check_frames, check_guidance};
use burn_dataset::Dataset;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::data::{Data, fingerprint, open_folder};
use super::metrics::{Features, Metric, SPLITS};
use super::network::Network;
use super::source::Source;
use super::weights::Weights;
use crate::cli::EvaluateArgs;

/// Pixels of a side that LPIPS needs at least.
const LPIPS_SIDE: usize = 16;

/// An evaluation in which nothing is left open.
pub(super) struct Settings {
    pub protocol: Protocol,
    pub sources: Vec<Source>,
    /// Clips of each source.
    pub samples: usize,
    /// The videos to measure.
    pub videos: Option<VideoFolder>,
    /// Frames per second of clips that are kept.
    pub fps: f64,
    /// What sets of clips are compared by.
    pub features: Vec<Features>,
    pub weights: Weights,
}

/// What class-conditional models are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Classes {
    /// Nothing: clips of any class.
    None,
    /// This class alone; clips of it are what samples are measured against, where data have labels.
    One(usize),
    /// For every clip a sample of its class.
    OfClips,
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::One(class) => write!(f, "{class}"),
            Self::OfClips => f.write_str("those of the clips"),
        }
    }
}

/// What measures of clips depend on: those made with another one do not compare.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Protocol {
    /// Where the model came from.
    pub model: String,
    /// A number that tells it from others.
    pub model_fingerprint: String,
    /// What the data are called.
    pub data: String,
    /// The `[data]` section, as far as clips depend on it.
    pub data_config: Value,
    /// A number that tells the files of the data from others; none of data that are drawn.
    pub data_fingerprint: Option<String>,
    /// Folder of the videos that were measured.
    pub videos: Option<String>,
    /// A number that tells them from others.
    pub videos_fingerprint: Option<String>,
    /// Frames of a clip.
    pub frames: usize,
    /// Frames that are given where clips are continued; of the truth and its reconstruction they are
    /// not measured either.
    pub prefix_frames: usize,
    pub metrics: Vec<Metric>,
    /// Numbers that tell the weights of published networks from others.
    pub weights: BTreeMap<Network, String>,
    pub classes: Classes,
    pub steps: usize,
    pub eta: f64,
    pub guidance: f64,
    pub seed: u64,
}

impl Settings {
    /// Fills in the model's defaults.
    pub(super) fn new(
        args: &EvaluateArgs,
        class: Option<usize>,
        source: &ModelSource,
        model: &ModelConfig,
        data: &Data,
    ) -> anyhow::Result<Self> {
        let steps = args.steps.unwrap_or(model.sampling.steps);
        let (metrics, weights) = metrics(args, model, data)?;
        let latent = model.vae.as_ref().map_or([0; 2], |vae| vae.latents());
        let features = metrics
            .iter()
            .filter_map(|metric| metric.features(data.frames, latent))
            .collect();
        let protocol = Protocol {
            model: source.to_string(),
            model_fingerprint: source.content_hash()?.to_string(),
            data: data.name.clone(),
            data_config: serde_json::to_value(&data.config).expect("plain values"),
            data_fingerprint: data.fingerprint.map(|number| number.to_string()),
            videos: args.videos.as_ref().map(|path| path.display().to_string()),
            videos_fingerprint: None,
            frames: data.frames,
            prefix_frames: args.prefix_frames.map_or(0, usize::from),
            metrics,
            weights: weights.fingerprints()?,
            classes: classes(args, class, model, data),
            steps,
            eta: args.eta.unwrap_or(model.sampling.eta),
            guidance: args.guidance.unwrap_or(model.sampling.guidance),
            seed: args.seed,
        };
        let mut settings = Self {
            sources: vec![Source::Truth, Source::Reconstruction],
            samples: args.samples.get(),
            videos: None,
            fps: model.sampling.fps,
            features,
            weights,
            protocol,
        };
        if let Some(path) = &args.videos {
            settings.sources.push(Source::Videos);
            let videos = videos(path, args.samples.get(), model, data)?;
            let number = fingerprint(path, &videos)?;
            settings.protocol.videos_fingerprint = Some(number.to_string());
            settings.videos = Some(videos);
        } else if model.transformer.is_some() {
            settings.add_samples(args, model)?;
        } else if !args.ar_step.is_empty() || args.prefix_frames.is_some() {
            bail!("this model has no transformer to sample with");
        }
        Ok(settings)
    }

    fn add_samples(&mut self, args: &EvaluateArgs, model: &ModelConfig) -> anyhow::Result<()> {
        let Protocol {
            frames,
            prefix_frames,
            steps,
            ..
        } = self.protocol;
        check_guidance(self.protocol.guidance, model)?;
        let mut ar_steps = args.ar_step.clone();
        if ar_steps.is_empty() {
            // The model's step difference is for the model's steps.
            ar_steps.push(model.sampling.ar_step.min(steps));
        }
        let mut prefixes = vec![0];
        prefixes.extend((prefix_frames > 0).then_some(prefix_frames));
        for prefix in prefixes {
            for &ar_step in &ar_steps {
                let source = Source::Samples { ar_step, prefix };
                check_frames(self.sampler_config(ar_step), frames, prefix, model)?;
                model.sampler(self.sampler_config(ar_step), frames - prefix)?;
                if !self.sources.contains(&source) {
                    self.sources.push(source);
                }
            }
        }
        Ok(())
    }

    /// The class that the samples with the number of a clip are of.
    ///
    /// # Errors
    /// If the clip cannot be read.
    pub(super) fn class(&self, clip: usize, data: &Data) -> anyhow::Result<Option<usize>> {
        match self.protocol.classes {
            Classes::None => Ok(None),
            Classes::One(class) => Ok(Some(class)),
            Classes::OfClips => data.label(clip),
        }
    }

    /// How to sample with a step difference.
    pub(super) fn sampler_config(&self, ar_step: usize) -> SamplerConfig {
        SamplerConfig {
            steps: self.protocol.steps,
            ar_step,
            eta: self.protocol.eta,
        }
    }
}

/// The clips of a folder of videos, in the size and length of the data.
fn videos(
    path: &Path,
    samples: usize,
    model: &ModelConfig,
    data: &Data,
) -> anyhow::Result<VideoFolder> {
    let config = VideoFolderConfig {
        size: frame_size(model),
        frames: data.frames,
        ..VideoFolderConfig::default()
    };
    let videos = open_folder(path, config, None, DataConfig::default().workers)?;
    ensure!(
        videos.len() >= samples,
        "--videos {}: there are {} clips of {} frames, and --samples is {samples}",
        path.display(),
        videos.len(),
        data.frames,
    );
    Ok(videos)
}

/// Width and height of what the model makes; 0 of one without a VAE, which makes nothing.
fn frame_size(model: &ModelConfig) -> usize {
    model.vae.as_ref().map_or(0, |vae| vae.image_size())
}

/// What to measure, and the weights that it takes.
fn metrics(
    args: &EvaluateArgs,
    model: &ModelConfig,
    data: &Data,
) -> anyhow::Result<(Vec<Metric>, Weights)> {
    let weights = Weights::new(&args.weights);
    let size = frame_size(model);
    let mut metrics = Vec::new();
    for &metric in &args.metrics {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    let check = |metric: Metric| check(metric, args.samples.get(), size, data);
    if metrics.is_empty() {
        let all = Metric::value_variants().iter().copied();
        metrics = all
            .filter(|metric| weights.suffice(*metric) && check(*metric).is_ok())
            .collect();
    }
    metrics.iter().copied().try_for_each(check)?;
    let weights = weights.for_metrics(&metrics)?;
    Ok((metrics, weights))
}

/// Fails if a metric says nothing of the clips.
fn check(metric: Metric, samples: usize, size: usize, data: &Data) -> anyhow::Result<()> {
    let name = metric.name();
    match metric {
        Metric::World => ensure!(
            data.is_world(),
            "--metrics: physics consistency says nothing of {}, which is no world of shapes: leave `world` out",
            data.name
        ),
        Metric::Psnr => {}
        Metric::Ssim => ensure!(
            size >= SSIM_WINDOW,
            "--metrics: `ssim` needs frames of {SSIM_WINDOW} pixels, and these have {size}"
        ),
        Metric::Lpips => ensure!(
            size >= LPIPS_SIDE,
            "--metrics: `lpips` needs frames of {LPIPS_SIDE} pixels, and these have {size}"
        ),
        Metric::Latents | Metric::Fvd | Metric::Fid | Metric::FidVideo => ensure!(
            samples > 1,
            "--metrics: `{name}` compares sets of clips: --samples has to be at least 2"
        ),
        Metric::Is => ensure!(
            samples >= 2 * SPLITS,
            "--metrics: `{name}` is a mean over {SPLITS} parts of the clips, and that of a single \
             clip is always 1: --samples has to be at least {}",
            2 * SPLITS
        ),
    }
    Ok(())
}

/// What classes to sample.
fn classes(args: &EvaluateArgs, class: Option<usize>, model: &ModelConfig, data: &Data) -> Classes {
    match class {
        Some(class) => Classes::One(class),
        None if args.videos.is_some() || model.conditioning.classes == 0 => Classes::None,
        None if data.has_labels() => Classes::OfClips,
        None => Classes::None,
    }
}
