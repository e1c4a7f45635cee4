use std::io;
use std::path::PathBuf;

use ar_video::VideoError;
use serde::{Deserialize, Serialize};

use crate::labels::LabelsError;
use crate::list::ListError;
use crate::skipped::{SkipKind, SkippedFile, list, reasons};

/// Configuration of a [`VideoFolder`](super::VideoFolder).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VideoFolderConfig {
    /// Width and height in pixels that frames are scaled and cropped to.
    pub size: usize,
    /// Frames per clip.
    pub frames: usize,
    /// Frames from the start of a clip to the start of the next one in the same video; by default
    /// the length of a clip, so that clips follow each other without overlap.
    pub skip: Option<usize>,
    /// The most memory for frames, in MiB. Clips of videos that do not fit are decoded each time
    /// they are used.
    pub max_memory_mib: usize,
    /// The largest share of videos that may be unusable, from 0 to 1: broken, or shorter than a
    /// clip. If there are more, opening fails. It does not change the clips.
    #[serde(skip_serializing_if = "is_default_share")]
    pub max_unusable: f64,
}

/// Written only if it is set, so that latents and runs of versions without it stay the same.
fn is_default_share(share: &f64) -> bool {
    *share == VideoFolderConfig::default().max_unusable
}

impl Default for VideoFolderConfig {
    fn default() -> Self {
        Self {
            size: 64,
            frames: 16,
            skip: None,
            max_memory_mib: 2048,
            max_unusable: 0.5,
        }
    }
}

impl VideoFolderConfig {
    pub(super) fn skip(&self) -> usize {
        self.skip.unwrap_or(self.frames)
    }

    pub(super) fn validate(&self) -> Result<(), VideoFolderError> {
        let fields = [
            ("size", self.size, 8),
            ("frames", self.frames, 1),
            ("skip", self.skip(), 1),
        ];
        for (field, value, least) in fields {
            if value < least {
                return Err(VideoFolderError::OutOfRange {
                    field,
                    value,
                    least,
                });
            }
        }
        match self.max_unusable {
            0.0..=1.0 => Ok(()),
            share => Err(VideoFolderError::Share(share)),
        }
    }
}

/// An invalid folder of videos, or an invalid configuration of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoFolderError {
    /// A number in the configuration is too low.
    #[error("videos: {field} is {value}, but has to be at least {least}")]
    OutOfRange {
        /// The field of [`VideoFolderConfig`].
        field: &'static str,
        /// Its value.
        value: usize,
        /// The lowest valid value.
        least: usize,
    },
    /// A share is not between 0 and 1.
    #[error("videos: max_unusable is {0}, but has to be from 0 to 1")]
    Share(f64),
    /// The root or a folder below it cannot be listed.
    #[error("cannot list {path}: {source}")]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are no videos at all.
    #[error(
        "there is no video in {root} or below{}{}",
        if passed_over.is_empty() { "" } else { ": " },
        list(passed_over)
    )]
    NoVideos {
        /// Where they were searched.
        root: PathBuf,
        /// Files that may be intended as videos, and why they are not.
        passed_over: Vec<SkippedFile>,
    },
    /// The list of videos cannot be used.
    #[error(transparent)]
    Selection(#[from] ListError),
    /// The classes of the videos cannot be determined.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// No video has a usable clip.
    #[error("no video in {root} has a usable clip: {}", list(skipped))]
    NothingUsable {
        /// Where videos were searched.
        root: PathBuf,
        /// All files that were left out.
        skipped: Vec<SkippedFile>,
    },
    /// More videos than allowed have no usable clip.
    #[error(
        "{unusable} of {videos} videos {} no usable clip, more than data.videos.max_unusable = \
         {most} allows ({}); raise max_unusable to continue without them: {}",
        if *unusable == 1 { "has" } else { "have" },
        reasons(skipped, SkipKind::Unusable),
        list(skipped)
    )]
    TooManyUnusable {
        /// Number of videos without a usable clip.
        unusable: usize,
        /// Number of all videos.
        videos: usize,
        /// The allowed share.
        most: f64,
        /// All files that were left out.
        skipped: Vec<SkippedFile>,
    },
    /// A video cannot be read because of the environment: see [`VideoError::is_environment`].
    #[error("the videos cannot be read here: {0}")]
    Environment(VideoError),
    /// The system has no threads left.
    #[error(
        "cannot start a thread that reads videos ({0}): raise the limits on processes and memory (`ulimit -u`, `-v`)"
    )]
    NoThread(io::Error),
    /// `progress` stopped the reading.
    #[error("interrupted while videos were read")]
    Interrupted,
}
