//! The interface of a metric.

use std::fmt;

use ar_data::to_pixels;
use ar_metrics::networks;
use ar_metrics::physics::{Curve, Truth, World};
use ar_model::VideoModel;
use ar_video::Frame;
use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use crate::{EvaluationError, FeatureSet, FidFrames, Network, NetworkFiles, Row};

/// A metric, of one of two kinds. The table `METRICS` has all of them.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Metric {
    /// Measures every clip by itself.
    Clip(&'static dyn ClipMetric),
    /// Compares sets of clips by the features of their clips.
    Set(&'static dyn SetMetric),
}

/// What is known about a metric without measuring anything.
pub trait MetricInfo: Sync {
    /// The name in options and records, such as `fid-video`.
    fn name(&self) -> &'static str;

    /// What it measures, in one line for the help.
    fn help(&self) -> &'static str;

    /// The published networks that it uses, whose weights the user provides.
    fn networks(&self) -> &'static [Network] {
        &[]
    }

    /// Fails, and says what is missing, if the metric does not apply to such clips.
    #[allow(unused_variables, reason = "most metrics say something about any clip")]
    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        Ok(())
    }

    /// The keys of its figures in `report.json`.
    fn keys(&self) -> &'static [&'static str];

    /// How its figures are shown; lower is better unless the name says otherwise.
    fn columns(&self) -> &'static [Column];

    /// Its curves.
    fn plots(&self) -> &'static [Plot] {
        &[]
    }
}

/// A metric of single clips.
pub trait ClipMetric: MetricInfo {
    /// Prepares it for measuring.
    ///
    /// # Errors
    /// If weights cannot be read.
    fn load(&self, load: &Load<'_>) -> Result<ClipMeter, EvaluationError>;

    /// The figure of a source from the measures of its clips, of which there is at least one: their
    /// mean, unless a metric says otherwise.
    ///
    /// # Errors
    /// If a measure does not belong to this metric.
    fn summary(&self, measures: &[&Value]) -> Result<Value, serde_json::Error> {
        let numbers = measures.iter().map(|&value| f64::deserialize(value));
        let numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
        Ok((numbers.iter().sum::<f64>() / numbers.len() as f64).into())
    }
}

/// A metric of sets of clips.
pub trait SetMetric: MetricInfo {
    /// `[samples, width]`: samples per clip, and features per sample.
    fn feature_shape(&self, clips: &ClipTraits) -> [usize; 2];

    /// Prepares it for extracting features.
    ///
    /// # Errors
    /// If weights cannot be read, or the network does not accept clips of that length.
    fn load(&self, load: &Load<'_>) -> Result<FeatureMeter, EvaluationError>;

    /// The figures of a source, in the order of [`keys`](MetricInfo::keys): the Frechet distance, unless a metric says
    /// otherwise. `truth` is the set of the ground truth, or None if that is the source.
    ///
    /// # Errors
    /// If features cannot be read, or there are too few.
    fn compare(
        &self,
        clips: &FeatureSet<'_>,
        truth: Option<&FeatureSet<'_>>,
    ) -> Result<Vec<Option<Value>>, EvaluationError> {
        Ok(vec![clips.frechet_distance(truth)?])
    }
}

/// Measures a clip; `None` if the metric does not apply.
pub type ClipMeter = Box<dyn Fn(&MeasuredClip<'_>) -> Option<Value>>;

/// Turns a clip into features, `samples * width` numbers, sample by sample.
pub type FeatureMeter = Box<dyn Fn(SeenClip) -> Result<Vec<f32>, EvaluationError>>;

/// A clip as the input of networks.
#[derive(Clone, Debug)]
pub struct SeenClip {
    /// The number of the clip.
    pub number: usize,
    /// `[1, frames, 3, height, width]` in `[0, 1]`.
    pub pixels: Tensor<5>,
}

/// What the clips of an evaluation have in common.
#[derive(Clone, Debug)]
pub struct ClipTraits {
    /// Clips of each source.
    pub samples: usize,
    /// Frames per clip.
    pub frames: usize,
    /// Width and height.
    pub size: usize,
    /// Tokens and channels of the model's latents.
    pub latent: [usize; 2],
    /// Name of the data.
    pub data: String,
    /// Whether they show a world of shapes.
    pub is_world: bool,
    /// The frames that FID looks at.
    pub fid_frames: FidFrames,
}

/// What a metric may use when it is loaded.
pub struct Load<'a> {
    /// The weights of published networks.
    pub networks: &'a NetworkFiles,
    /// The model that is measured.
    pub model: &'a VideoModel,
    /// What the clips have in common.
    pub clips: &'a ClipTraits,
    /// Where to compute.
    pub device: &'a Device,
}

/// A clip to be measured.
pub struct MeasuredClip<'a> {
    /// Its frames.
    pub frames: &'a [Frame],
    /// The ground truth, if known.
    pub truth: Option<Truth<'a>>,
    /// The physics of the data, if they are a world of shapes.
    pub world: Option<&'a World>,
    /// Where to compute.
    pub device: &'a Device,
}

impl MeasuredClip<'_> {
    /// The frames that were not given, and the truth of each; None if there is no truth.
    pub fn compared(&self) -> Option<(&[Frame], &[Frame])> {
        let Truth { frames, given } = self.truth?;
        Some((&self.frames[given..], &frames[given..]))
    }

    /// Frames as pixels `[1, frames, 3, height, width]` in `[0, 1]`.
    pub fn pixels(&self, frames: &[Frame]) -> Tensor<5> {
        to_pixels(&[frames], self.device)
    }
}

/// A column of the table.
pub struct Column {
    /// Its name, with the unit.
    pub name: &'static str,
    /// The figure of a source as text.
    pub figure: fn(&Row) -> Option<String>,
}

/// A figure by frame, to be drawn.
pub struct Plot {
    /// Its name.
    pub title: &'static str,
    /// The curve of a source.
    pub curve: fn(&Row) -> Option<Curve>,
    /// The factor that values are multiplied by.
    pub scale: f64,
    /// The unit after that.
    pub unit: &'static str,
}

impl std::ops::Deref for Metric {
    type Target = dyn MetricInfo;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Clip(metric) => *metric,
            Self::Set(metric) => *metric,
        }
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The extractor of a published network.
///
/// # Errors
/// If it does not accept clips of `frames` frames.
pub(crate) fn extractor(
    metric: &dyn MetricInfo,
    network: impl networks::FeatureExtractor + 'static,
    frames: usize,
) -> Result<FeatureMeter, EvaluationError> {
    let range = network.frames();
    if !range.contains(&frames) {
        return Err(EvaluationError::Metric {
            metric: metric.name(),
            reason: format!(
                "needs clips of {} to {} frames, but these have {frames}: \
                 change `frames`",
                range.start(),
                range.end()
            ),
        });
    }
    Ok(Box::new(move |clip| {
        Ok(network.features(clip.pixels).into_data().iter().collect())
    }))
}

/// Fails if there are fewer than two clips, since sets could not be compared.
pub(crate) fn check_two(clips: &ClipTraits) -> Result<(), String> {
    if clips.samples > 1 {
        return Ok(());
    }
    Err("compares sets of clips: `samples` has to be at least 2".into())
}

/// Fails if frames are smaller than `least` pixels.
pub(crate) fn check_size(clips: &ClipTraits, least: usize) -> Result<(), String> {
    if clips.size >= least {
        return Ok(());
    }
    let size = clips.size;
    Err(format!(
        "needs frames of at least {least} pixels a side, but these have {size}"
    ))
}
