//! The settings of an evaluation, checked before anything is computed.

use std::path::Path;

use ar_data::{DataConfig, Selection, SkippedFile, VideoFolder, VideoFolderConfig};
use ar_diffusion::SamplerConfig;
use ar_model::ModelConfig;
use ar_pipeline::{ModelSource, PipelineError, check_frames, check_guidance, guidance_note};
use burn_dataset::Dataset;

use crate::records::Features;
use crate::reference::{Reference, fingerprint, open_folder};
use crate::source::Source;
use crate::{
    ClipTraits, EvaluationError, EvaluationOptions, METRICS, Metric, Network, NetworkFiles,
    Protocol, ReferenceSplit, SampledClasses,
};

/// The options of an evaluation with all defaults filled in.
pub(crate) struct Settings {
    pub protocol: Protocol,
    pub sources: Vec<Source>,
    /// Clips of each source.
    pub samples: usize,
    /// The videos to measure.
    pub videos: Option<VideoFolder>,
    /// Frames per second of clips that are kept.
    pub fps: f64,
    pub metrics: Vec<Metric>,
    /// What the clips have in common.
    pub clips: ClipTraits,
    /// The features for comparing sets of clips, in the order of their metrics.
    pub features: Vec<Features>,
    pub networks: NetworkFiles,
    /// Messages for the user.
    pub notes: Vec<String>,
}

impl Settings {
    /// Fills in the model's defaults. `skipped` gets the videos that are left out.
    ///
    /// # Errors
    /// If options do not fit each other, the model or the reference.
    pub(crate) fn new(
        options: &EvaluationOptions,
        class: Option<usize>,
        source: &ModelSource,
        model: &ModelConfig,
        reference: &Reference,
        skipped: impl Fn(&SkippedFile),
    ) -> Result<Self, EvaluationError> {
        let steps = options.steps.unwrap_or(model.sampling.steps);
        let clips = ClipTraits {
            samples: options.samples,
            frames: reference.frames,
            size: frame_size(model),
            latent: model.vae.as_ref().map_or([0; 2], |vae| vae.latents()),
            data: reference.name.clone(),
            is_world: reference.is_world(),
            fid_frames: options.fid_frames,
        };
        let (metrics, networks) = metrics(options, &clips)?;
        let features = metrics
            .iter()
            .filter_map(|metric| match metric {
                Metric::Clip(_) => None,
                Metric::Set(set) => Some((set.name(), set.feature_shape(&clips))),
            })
            .map(|(metric, [samples, width])| Features {
                metric,
                samples,
                width,
            })
            .collect();
        let protocol = Protocol {
            model: source.to_string(),
            model_fingerprint: source.content_hash()?.to_string(),
            data: reference.name.clone(),
            data_config: serde_json::to_value(&reference.config).expect("plain values"),
            split: options.split,
            through_mp4: options.through_mp4,
            fid_frames: options.fid_frames,
            data_fingerprint: reference.fingerprint.map(|number| number.to_string()),
            videos: options
                .videos
                .as_ref()
                .map(|path| path.display().to_string()),
            videos_fingerprint: None,
            frames: reference.frames,
            prefix_frames: options.prefix_frames,
            metrics: metrics.iter().map(|metric| metric.name()).collect(),
            weights: networks.fingerprints()?,
            classes: classes(options, class, model, reference),
            steps,
            eta: options.eta.unwrap_or(model.sampling.eta),
            guidance: options.guidance.unwrap_or(model.sampling.guidance),
            seed: options.seed,
        };
        let mut notes = Vec::from_iter(source.note());
        notes.extend(lpips_note(options.split, &metrics));
        let mut settings = Self {
            sources: vec![Source::Truth, Source::Reconstruction],
            samples: options.samples,
            videos: None,
            fps: model.sampling.fps,
            metrics,
            clips,
            features,
            networks,
            notes,
            protocol,
        };
        if let Some(path) = &options.videos {
            settings.sources.push(Source::Videos);
            let videos = videos(path, &settings.clips, skipped)?;
            let number = fingerprint(path, &videos)?;
            settings.protocol.videos_fingerprint = Some(number.to_string());
            settings.videos = Some(videos);
        } else if model.transformer.is_some() {
            settings.add_samples(options, model)?;
        } else if !options.ar_steps.is_empty() || options.prefix_frames > 0 {
            return Err(PipelineError::NoTransformer.into());
        }
        Ok(settings)
    }

    fn add_samples(
        &mut self,
        options: &EvaluationOptions,
        model: &ModelConfig,
    ) -> Result<(), EvaluationError> {
        let Protocol {
            frames,
            prefix_frames,
            steps,
            ..
        } = self.protocol;
        check_guidance(self.protocol.guidance)?;
        self.notes
            .extend(guidance_note(self.protocol.guidance, model));
        let mut ar_steps = options.ar_steps.clone();
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

    /// The class of the samples with the number of a clip.
    pub(crate) fn class(&self, clip: usize, reference: &Reference) -> Option<usize> {
        match self.protocol.classes {
            SampledClasses::None => None,
            SampledClasses::One(class) => Some(class),
            SampledClasses::OfClips => reference.label(clip),
        }
    }

    /// How to sample with a step difference.
    pub(crate) fn sampler_config(&self, ar_step: usize) -> SamplerConfig {
        SamplerConfig {
            steps: self.protocol.steps,
            ar_step,
            eta: self.protocol.eta,
        }
    }
}

/// The clips of a folder of videos, in the size and length of the reference.
fn videos(
    path: &Path,
    clips: &ClipTraits,
    skipped: impl Fn(&SkippedFile),
) -> Result<VideoFolder, EvaluationError> {
    let config = VideoFolderConfig {
        size: clips.size,
        frames: clips.frames,
        ..VideoFolderConfig::default()
    };
    let (all, workers) = (Selection::default(), DataConfig::default().workers);
    let videos = open_folder(path, config, all, workers, skipped)?;
    if videos.len() < clips.samples {
        let reason = format!(
            "{}: there are {} clips of {} frames, and `samples` is {}",
            path.display(),
            videos.len(),
            clips.frames,
            clips.samples
        );
        return Err(EvaluationError::option("videos", reason));
    }
    Ok(videos)
}

/// Width and height of the model's frames; 0 for a model without a VAE, which makes none.
fn frame_size(model: &ModelConfig) -> usize {
    model.vae.as_ref().map_or(0, |vae| vae.image_size())
}

/// The metrics to compute, in the order of [`METRICS`], and the weights for them.
fn metrics(
    options: &EvaluationOptions,
    clips: &ClipTraits,
) -> Result<(Vec<Metric>, NetworkFiles), EvaluationError> {
    let files = options.networks.iter().cloned();
    let files = NetworkFiles::new(files.map(|file| (file.network, file.path)));
    let has_weights = |metric: &Metric| metric.networks().iter().all(|n| files.contains(n));
    let all = METRICS.iter().copied();
    let metrics: Vec<Metric> = if options.metrics.is_empty() {
        all.filter(|metric| has_weights(metric) && metric.check(clips).is_ok())
            .collect()
    } else {
        all.filter(|metric| options.metrics.contains(metric))
            .collect()
    };
    for metric in &metrics {
        let error = |reason| EvaluationError::Metric {
            metric: metric.name(),
            reason,
        };
        metric.check(clips).map_err(error)?;
        let mut networks = metric.networks().iter();
        if let Some(Network { name, published }) = networks.find(|n| !files.contains(n)) {
            return Err(error(format!(
                "takes the weights of a published network: `weights` {name}=FILE ({published})"
            )));
        }
    }
    // Weights that no metric uses are not part of the protocol.
    let networks = metrics.iter().flat_map(|metric| metric.networks());
    let files = files.only(&networks.copied().collect::<Vec<_>>());
    Ok((metrics, files))
}

/// What to know about LPIPS on VGG16 where it may be taken for the published figure.
fn lpips_note(split: ReferenceSplit, metrics: &[Metric]) -> Option<String> {
    let measures = |name: &str| metrics.iter().any(|metric| metric.name() == name);
    let published = split == ReferenceSplit::Training;
    (published && measures("lpips") && !measures("lpips-alex")).then(|| {
        "note: the metric lpips is on VGG16; published figures of VAEs are on AlexNet, the metric \
         lpips-alex"
            .to_owned()
    })
}

/// The classes to sample.
fn classes(
    options: &EvaluationOptions,
    class: Option<usize>,
    model: &ModelConfig,
    reference: &Reference,
) -> SampledClasses {
    match class {
        Some(class) => SampledClasses::One(class),
        None if options.videos.is_some() || model.conditioning.classes == 0 => SampledClasses::None,
        None if reference.has_labels() => SampledClasses::OfClips,
        None => SampledClasses::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FidFrames;

    const CLIPS: ClipTraits = ClipTraits {
        samples: 2,
        frames: 16,
        size: 64,
        latent: [16, 16],
        data: String::new(),
        is_world: false,
        fid_frames: FidFrames::All,
    };

    fn settled(
        metrics: &[&str],
        networks: &[&str],
    ) -> Result<(Vec<Metric>, NetworkFiles), EvaluationError> {
        let metric = |name: &&str| Metric::named(name).expect("a metric");
        let file = |text: &&str| text.parse().expect("a file");
        let options = EvaluationOptions {
            metrics: metrics.iter().map(metric).collect(),
            networks: networks.iter().map(file).collect(),
            ..EvaluationOptions::default()
        };
        super::metrics(&options, &CLIPS)
    }

    fn names(metrics: &[Metric]) -> Vec<&'static str> {
        metrics.iter().map(|metric| metric.name()).collect()
    }

    #[test]
    fn by_default_everything_is_measured_that_can_be() {
        let (metrics, _) = settled(&[], &["i3d=i.pt", "lpips=l.pth"]).expect("metrics");
        assert_eq!(names(&metrics), ["psnr", "ssim", "fvd", "latents"]);
    }

    #[test]
    fn metrics_need_their_networks() {
        let error = settled(&["lpips"], &["lpips=l.pth"]).expect_err("no VGG16");
        let error = error.to_string();
        assert!(error.contains("`weights` vgg16=FILE"), "{error}");
        let (_, files) = settled(&["fvd"], &["i3d=i.pt", "lpips=l.pth"]).expect("all weights");
        let lpips = Metric::named("lpips").expect("a metric").networks();
        assert!(!lpips.iter().any(|network| files.contains(network)));
    }

    #[test]
    fn the_published_protocol_asks_for_the_published_lpips() {
        let note = |names: &[&str], split| {
            let metrics: Vec<_> = names
                .iter()
                .map(|name| Metric::named(name).expect("a metric"))
                .collect();
            lpips_note(split, &metrics)
        };
        let published = ReferenceSplit::Training;
        assert!(note(&["psnr", "lpips"], published).is_some_and(|note| note.contains("AlexNet")));
        assert_eq!(note(&["lpips", "lpips-alex"], published), None);
        assert_eq!(note(&["psnr"], published), None);
        assert_eq!(note(&["lpips"], ReferenceSplit::Validation), None);
    }

    #[test]
    fn metrics_come_in_the_order_of_the_table() {
        let (metrics, _) = settled(&["ssim", "psnr", "ssim"], &[]).expect("metrics");
        assert_eq!(names(&metrics), ["psnr", "ssim"]);
    }
}
