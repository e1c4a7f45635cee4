//! What `evaluate` is asked to do, checked before anything is computed.

use std::path::Path;

use anyhow::{bail, ensure};
use ar_data::{DataConfig, VideoFolder, VideoFolderConfig};
use ar_diffusion::SamplerConfig;
use ar_metrics::SSIM_WINDOW;
use ar_metrics::world::{Truth, World};
use ar_model::ModelConfig;
use ar_video::Frame;
use burn_dataset::Dataset;
use clap::ValueEnum;
use serde::Serialize;

use super::data::{Data, open_folder};
use super::metrics::{Measured, Measures, Metric};
use super::sources::Source;
use crate::cli::EvaluateArgs;
use crate::model::ModelSource;
use crate::settings::check_frames;

/// An evaluation in which nothing is left open.
pub struct Settings {
    pub protocol: Protocol,
    pub sources: Vec<Source>,
    /// Clips of each source.
    pub samples: usize,
    /// The videos to measure.
    pub videos: Option<VideoFolder>,
}

/// What measures of clips depend on: those made with another one do not compare.
#[derive(Clone, Debug, Serialize)]
pub struct Protocol {
    /// Where the model came from.
    pub model: String,
    /// A number that tells it from others.
    pub model_fingerprint: String,
    pub data: String,
    /// Folder of the videos that were measured.
    pub videos: Option<String>,
    /// Frames of a clip.
    pub frames: usize,
    /// Frames that are given where clips are continued; in reconstructions they are not measured
    /// against the truth either.
    pub prefix_frames: usize,
    pub metrics: Vec<Metric>,
    pub steps: usize,
    pub eta: f64,
    pub guidance: f64,
    pub seed: u64,
}

impl Settings {
    /// Fills in the model's defaults.
    pub fn new(
        args: &EvaluateArgs,
        source: &ModelSource,
        model: &ModelConfig,
        data: &Data,
    ) -> anyhow::Result<Self> {
        let steps = args.steps.unwrap_or(model.sampling.steps);
        let guidance = args.guidance.unwrap_or(model.sampling.guidance);
        ensure!(
            guidance.is_finite(),
            "guidance is {guidance}, but must be a finite number (1 is none)"
        );
        let protocol = Protocol {
            model: source.describe(),
            model_fingerprint: format!("{:016x}", source.fingerprint()?),
            data: data.name.clone(),
            videos: args.videos.as_ref().map(|path| path.display().to_string()),
            frames: data.frames,
            prefix_frames: args.prefix_frames.map_or(0, usize::from),
            metrics: metrics(args, model, data)?,
            steps,
            eta: args.eta.unwrap_or(model.sampling.eta),
            guidance,
            seed: args.seed,
        };
        let mut settings = Self {
            sources: vec![Source::Truth, Source::Reconstruction],
            samples: args.samples.get(),
            videos: None,
            protocol,
        };
        if let Some(path) = &args.videos {
            settings.sources.push(Source::Videos);
            settings.videos = Some(videos(path, args.samples.get(), model, data)?);
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
        let mut ar_steps = args.ar_step.clone();
        if ar_steps.is_empty() {
            // The model's step difference is for the model's steps.
            ar_steps.push(model.sampling.ar_step.min(steps));
        }
        let window = model.transformer.as_ref().map_or(0, |dit| dit.num_frames);
        let mut prefixes = vec![0];
        prefixes.extend((prefix_frames > 0).then_some(prefix_frames));
        for prefix in prefixes {
            for &ar_step in &ar_steps {
                let source = Source::Samples { ar_step, prefix };
                check_frames(self.sampler_config(ar_step), frames, prefix, window)?;
                model.sampler(self.sampler_config(ar_step), frames - prefix)?;
                if !self.sources.contains(&source) {
                    self.sources.push(source);
                }
            }
        }
        Ok(())
    }

    /// How to sample with a step difference.
    pub fn sampler_config(&self, ar_step: usize) -> SamplerConfig {
        SamplerConfig {
            steps: self.protocol.steps,
            ar_step,
            eta: self.protocol.eta,
        }
    }

    /// Everything that is asked for, of one clip.
    pub fn measure(
        &self,
        source: &Source,
        frames: &[Frame],
        truth: &[Frame],
        world: Option<&World>,
    ) -> Measures {
        let clip = Measured {
            frames,
            truth: source.has_truth().then_some(Truth {
                frames: truth,
                given: self.protocol.prefix_frames,
            }),
            world,
        };
        let mut measures = Measures::default();
        for metric in &self.protocol.metrics {
            metric.measure(clip, &mut measures);
        }
        measures
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
    let videos = open_folder(path, config, DataConfig::default().workers)?;
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

fn metrics(args: &EvaluateArgs, model: &ModelConfig, data: &Data) -> anyhow::Result<Vec<Metric>> {
    if args.metrics.is_empty() {
        let says_something = |metric: &Metric| match metric {
            Metric::World => data.world().is_some(),
            Metric::Psnr => true,
            Metric::Ssim => frame_size(model) >= SSIM_WINDOW,
        };
        let all = Metric::value_variants().iter().copied();
        return Ok(all.filter(says_something).collect());
    }
    let mut metrics = Vec::new();
    for &metric in &args.metrics {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    if metrics.contains(&Metric::World) && data.world().is_none() {
        bail!(
            "--metrics: the laws of the world of shapes say nothing of {}: leave `world` out",
            data.name
        );
    }
    let size = frame_size(model);
    if metrics.contains(&Metric::Ssim) && size < SSIM_WINDOW {
        bail!("--metrics: `ssim` needs frames of {SSIM_WINDOW} pixels, and these have {size}");
    }
    Ok(metrics)
}
