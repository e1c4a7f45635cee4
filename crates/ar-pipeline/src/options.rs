use std::ops::Range;

use ar_model::{ModelConfig, ModelError};

use crate::{Prefix, StartNoise};

/// What to generate. Options that are not set have the model's defaults.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// Frames per video, including the prefix; by default the prefix and the model's window.
    pub frames: Option<usize>,
    /// Number of videos; by default one.
    pub count: Option<usize>,
    /// The videos to make, from `0..count`; by default all. A video does not depend on which others
    /// are made with it, since its noise depends only on the seed and its number.
    pub videos: Option<Range<usize>>,
    /// Videos to sample together; by default up to 4.
    pub batch: Option<usize>,
    /// Denoising steps per frame, S.
    pub steps: Option<usize>,
    /// Steps that each frame is behind the frame before it, s: 0 denoises all frames together,
    /// `steps` one after another.
    pub ar_step: Option<usize>,
    /// Scale of classifier-free guidance; 1 is none.
    pub guidance: Option<f64>,
    /// Scale of the fresh noise in each step: 0 is none (DDIM), 1 is ancestral (DDPM).
    pub eta: Option<f64>,
    /// Classes of the videos, if the model has classes.
    pub classes: Classes,
    /// Seed of the noise.
    pub seed: u64,
    /// Starting noise instead of the seed's; it also sets the number of videos and frames.
    pub noise: Option<StartNoise>,
    /// Frames that the videos start with.
    pub prefix: Option<Prefix>,
    /// Number of frames to take from the end of a [file](Prefix::File); by default all, up to one
    /// less than the model's window.
    pub prefix_frames: Option<usize>,
}

/// The classes of the videos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Classes {
    /// None.
    #[default]
    None,
    /// This class for all.
    All(usize),
    /// For all, the class with this name, or else with this number.
    Named(String),
    /// A class for each of the videos that are made.
    Each(Vec<usize>),
}

impl Classes {
    /// The class of all videos, if it is the same and known as a number.
    pub fn single(&self) -> Option<usize> {
        match self {
            Self::All(class) => Some(*class),
            _ => None,
        }
    }

    /// The same, with a number instead of a name.
    pub(crate) fn numbered(&self, model: &ModelConfig) -> Result<Self, ModelError> {
        match self {
            Self::Named(name) => Ok(Self::All(model.conditioning.class(name)?)),
            classes => Ok(classes.clone()),
        }
    }
}
