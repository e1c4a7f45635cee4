use std::path::PathBuf;

use ar_data::Part;

use crate::{FidFrames, Metric, NetworkFile, ReferenceSplit};

/// The most clips of a source; a larger number must be a mistake.
pub const MOST_SAMPLES: usize = 1_000_000;

/// Number of clips of every source in the published evaluation.
pub const PUBLISHED_SAMPLES: usize = 2048;

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct EvaluationOptions {
    /// A configuration file whose `[data]` section has the clips to compare with, its validation clips; by default
    /// bouncing shapes.
    pub data: Option<PathBuf>,
    /// Which clips of the data to compare with.
    pub split: ReferenceSplit,
    /// Number of data clips, and of samples with each step difference; at most [`MOST_SAMPLES`].
    pub samples: usize,
    /// Frames of a clip; by default the model's window or, for a dataset of videos, its `frames`.
    pub frames: Option<usize>,
    /// A folder of videos to measure instead of samples.
    pub videos: Option<PathBuf>,
    /// The metrics to compute; if empty, all that apply and have their weights.
    pub metrics: Vec<Metric>,
    /// The weights of published networks.
    pub networks: Vec<NetworkFile>,
    /// Step differences to sample with; if empty, the model's.
    pub ar_steps: Vec<usize>,
    /// Denoising steps per frame; by default the model's.
    pub steps: Option<usize>,
    /// Classifier-free guidance; by default the model's.
    pub guidance: Option<f64>,
    /// Fresh noise in each step, 0 (DDIM) to 1 (DDPM); by default the model's.
    pub eta: Option<f64>,
    /// The class to sample, its name or number; by default the class of each clip.
    pub class: Option<String>,
    /// Whether every clip is passed through an MP4 file, 8-bit and lossy, before it is measured. Reading it back needs
    /// ffmpeg.
    pub through_mp4: bool,
    /// Frames of a clip that FID looks at; by default all.
    pub fid_frames: FidFrames,
    /// Seed of the noise, and of the order of training clips.
    pub seed: u64,
    /// Clips to sample at the same time.
    pub batch: usize,
    /// If not 0, the first so many frames of every clip are also continued.
    pub prefix_frames: usize,
    /// Folder for measures and report.
    pub out: PathBuf,
    /// Number of first clips of every source that are kept as videos.
    pub keep: usize,
    /// The part of the work to do.
    pub part: Part,
}

impl EvaluationOptions {
    /// Options to measure like published figures: [`PUBLISHED_SAMPLES`] training clips in random order against as many
    /// samples, FID on one frame of each clip.
    pub fn published() -> Self {
        Self {
            split: ReferenceSplit::Training,
            samples: PUBLISHED_SAMPLES,
            fid_frames: FidFrames::One,
            ..Self::default()
        }
    }
}

impl Default for EvaluationOptions {
    fn default() -> Self {
        Self {
            data: None,
            split: ReferenceSplit::Validation,
            samples: 64,
            frames: None,
            videos: None,
            metrics: Vec::new(),
            networks: Vec::new(),
            ar_steps: Vec::new(),
            steps: None,
            guidance: None,
            eta: None,
            class: None,
            through_mp4: false,
            fid_frames: FidFrames::All,
            seed: 0,
            batch: 8,
            prefix_frames: 0,
            out: "evaluation".into(),
            keep: 0,
            part: Part::ALL,
        }
    }
}
