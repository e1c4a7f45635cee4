use std::io;
use std::path::{Path, PathBuf};

use ar_model::ModelError;
use ar_video::VideoError;
use ar_weights::{Fault, LocationError};

use crate::NoiseError;

/// A video that cannot be made. Messages name options as `frames` and `ar_step`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The model cannot be read, or cannot do what was requested.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model's configuration is damaged or invalid.
    #[error("{name}: {source}")]
    Config {
        /// The name of the file or its source.
        name: String,
        /// What is wrong.
        source: ModelError,
    },
    /// A model cannot be downloaded from the hub.
    #[error(
        "{0}; to turn a checkpoint into a model directory, use `ar-train import --transformer \
         hf://OWNER/NAME/FILE`"
    )]
    Hub(#[from] LocationError),
    /// A video cannot be read or written.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// The starting noise cannot be used.
    #[error(transparent)]
    Noise(#[from] NoiseError),
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// The system has no threads left.
    #[error(
        "cannot start a thread ({0}): raise the limits on processes and memory (`ulimit -u`, `-v`)"
    )]
    Thread(io::Error),
    /// The model only encodes and decodes.
    #[error("this model has no transformer to sample with: it only encodes and decodes")]
    NoTransformer,
    /// The model makes only latents.
    #[error("this model has no VAE to make videos with")]
    NoVae,
    /// There are frames to continue, but nothing to encode them.
    #[error("`prefix` is given, and this model has no VAE to encode it with")]
    PrefixWithoutVae,
    /// An option has an invalid value.
    #[error("`{option}` is {found}, but has to be {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The prefix has fewer frames than requested.
    #[error("`prefix_frames` is {asked}, but {} has {found} frames", path.display())]
    ShortPrefix {
        /// Frames requested.
        asked: usize,
        /// The video.
        path: PathBuf,
        /// Frames in the video.
        found: usize,
    },
    /// The prefix leaves nothing to sample.
    #[error(
        "`frames` is {frames} with the {prefix} of the prefix: it has to be larger, or \
         `prefix_frames` smaller"
    )]
    OnlyPrefix {
        /// Frames of the video.
        frames: usize,
        /// Frames of the prefix among them.
        prefix: usize,
    },
    /// All frames are denoised together, in a window without room for the prefix.
    #[error(
        "`ar_step` 0 denoises all {sampled} new frames together, which see {window} frames and \
         nothing of the prefix: ask for fewer `frames` or a larger `ar_step`"
    )]
    UnseenPrefix {
        /// Frames to sample.
        sampled: usize,
        /// Frames that each frame sees.
        window: usize,
    },
    /// Guidance is not a number.
    #[error("guidance is {0}, but must be a finite number (1 is none)")]
    Guidance(f64),
    /// The path's extension belongs to no format.
    #[error(
        "{}: no format has this extension; use .mp4, .gif, .apng, .frames or .rgb", path.display()
    )]
    Extension {
        /// The path.
        path: PathBuf,
    },
    /// An output for a single video, when there are several.
    #[error("`{option}` {shows}, and there are {videos} to generate")]
    OneVideo {
        /// The option.
        option: &'static str,
        /// What the output shows.
        shows: &'static str,
        /// Videos to generate.
        videos: usize,
    },
    /// Two outputs would be the same file.
    #[error("`{}` and `{}` are both {}", options[0], options[1], path.display())]
    SameOutput {
        /// The two options.
        options: [&'static str; 2],
        /// The path of one of them.
        path: PathBuf,
    },
    /// A file instead of a model directory.
    #[error(
        "{name} is a file, but a model is a folder: `ar-train import {option} {name} --out DIR` \
         makes one from published weights"
    )]
    FileOfWeights {
        /// The file.
        name: String,
        /// The option of `ar-train import` that takes it.
        option: &'static str,
    },
    /// An output would replace or change something that the videos are made from.
    #[error(
        "`{option}` would change {}, which is the input of `{input}`: write to another path",
        path.display()
    )]
    ReplacesInput {
        /// The option of the output.
        option: &'static str,
        /// The option of the input.
        input: &'static str,
        /// The path of the input.
        path: PathBuf,
    },
    /// A latent cannot be decoded.
    #[error(
        "frame {frame} came out of sampling as {fault}; a lower `guidance` or `eta` may help, or \
         the model is broken"
    )]
    Broken {
        /// The frame.
        frame: usize,
        /// What is wrong with its latent.
        fault: Fault,
    },
}

impl PipelineError {
    /// Whether what a model makes is not finite, or far too large.
    pub fn is_not_finite(&self) -> bool {
        matches!(
            self,
            Self::Broken { .. } | Self::Model(ModelError::NotFinite { .. })
        )
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + use<'_> {
        move |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}
