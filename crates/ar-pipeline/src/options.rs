use std::ops::Range;

use ar_model::{ModelConfig, ModelError};

use crate::{Prefix, StartNoise};

/// What to generate. What is not given is taken from the model's defaults.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// Frames of a video, with the frames of the prefix; by default a window of the model after the
    /// prefix.
    pub frames: Option<usize>,
    /// Videos; by default one.
    pub count: Option<usize>,
    /// The videos to make, of `0..count`; by default all. A video is the same whichever others are
    /// made with it, since its noise depends only on the seed and its number.
    pub videos: Option<Range<usize>>,
    /// Videos to sample together; by default up to 4.
    pub batch: Option<usize>,
    /// Denoising steps of a frame, S.
    pub steps: Option<usize>,
    /// Steps that a frame is behind the one before it, s: 0 denoises all frames together, `steps`
    /// one after another.
    pub ar_step: Option<usize>,
    /// Scale of classifier-free guidance; 1 is none.
    pub guidance: Option<f64>,
    /// Scale of the fresh noise of a step: 0 is none (DDIM), 1 is ancestral (DDPM).
    pub eta: Option<f64>,
    /// Classes of the videos, of a model that has classes.
    pub classes: Classes,
    /// Seed of the noise.
    pub seed: u64,
    /// Starting noise instead of the seed's; it also says how many videos and frames there are.
    pub noise: Option<StartNoise>,
    /// Frames that videos begin with.
    pub prefix: Option<Prefix>,
    /// Frames to take of a [file](Prefix::File), its last; by default all, up to one less than the
    /// model's window.
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
    /// The class with this name, or else with this number, for all.
    Named(String),
    /// A class for each of the videos that are made.
    Each(Vec<usize>),
}

impl Classes {
    /// The one class of all videos, if it is known as a number.
    pub fn single(&self) -> Option<usize> {
        match self {
            Self::All(class) => Some(*class),
            _ => None,
        }
    }

    /// With a number for the name.
    pub(crate) fn numbered(&self, model: &ModelConfig) -> Result<Self, ModelError> {
        match self {
            Self::Named(name) => Ok(Self::All(model.conditioning.class(name)?)),
            classes => Ok(classes.clone()),
        }
    }
}
