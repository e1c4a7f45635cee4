use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::{FidFrames, ReferenceSplit};

/// What the measures of clips depend on. Measures made with different protocols cannot be compared.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Protocol {
    /// The source of the model.
    pub model: String,
    /// Content hash of the model's files.
    pub model_fingerprint: String,
    /// Name of the data.
    pub data: String,
    /// The `[data]` section, as far as clips depend on it.
    pub data_config: Value,
    /// Content hash of the files of the data; None for data that are drawn.
    pub data_fingerprint: Option<String>,
    /// Which clips of the data.
    pub split: ReferenceSplit,
    /// Folder of the videos that were measured.
    pub videos: Option<String>,
    /// Content hash of those videos.
    pub videos_fingerprint: Option<String>,
    /// Frames per clip.
    pub frames: usize,
    /// Number of given frames in continued clips. They are not measured in the ground truth and its
    /// reconstruction either.
    pub prefix_frames: usize,
    /// Names of the metrics.
    pub metrics: Vec<&'static str>,
    /// Content hashes of the weights of published networks.
    pub weights: BTreeMap<&'static str, String>,
    /// The classes of the samples.
    pub classes: SampledClasses,
    /// Whether clips passed through an MP4 file.
    pub through_mp4: bool,
    /// The frames of a clip that FID looks at.
    pub fid_frames: FidFrames,
    /// Denoising steps per frame.
    pub steps: usize,
    /// Fresh noise in each step.
    pub eta: f64,
    /// Classifier-free guidance.
    pub guidance: f64,
    /// Seed of the noise, and of the order of training clips.
    pub seed: u64,
}

/// The classes that a class-conditional model samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SampledClasses {
    /// Nothing: clips of any class.
    None,
    /// Only this class. If the data have labels, samples are compared with clips of the class.
    One(usize),
    /// For every clip, a sample of its class.
    OfClips,
}

impl fmt::Display for SampledClasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::One(class) => write!(f, "{class}"),
            Self::OfClips => f.write_str("each clip's own"),
        }
    }
}
