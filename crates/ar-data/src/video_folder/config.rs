use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::labels::LabelsError;
use crate::skipped::{SkippedFile, list};

/// Configuration of a [`VideoFolder`](super::VideoFolder).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VideoFolderConfig {
    /// Width and height in pixels that frames are scaled and cropped to.
    pub size: usize,
    /// Frames of a clip.
    pub frames: usize,
    /// Frames from the start of a clip to the start of the next one in the
    /// same video; as many as a clip has if not given, so that clips follow
    /// each other without overlap.
    pub skip: Option<usize>,
    /// Most memory that frames are kept in, in MiB. Clips of videos that do not fit are decoded
    /// each time they are asked for.
    pub max_memory_mib: usize,
}

impl Default for VideoFolderConfig {
    fn default() -> Self {
        Self {
            size: 64,
            frames: 16,
            skip: None,
            max_memory_mib: 2048,
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
        Ok(())
    }
}

/// A folder of videos, or a wish for one, that makes no dataset.
#[derive(Debug, thiserror::Error)]
pub enum VideoFolderError {
    /// A number in the configuration is too low.
    #[error("videos: {field} is {value}, but has to be at least {least}")]
    OutOfRange {
        /// The field of [`VideoFolderConfig`].
        field: &'static str,
        /// Its value.
        value: usize,
        /// The lowest value that it may have.
        least: usize,
    },
    /// The root or a folder below it does not list.
    #[error("cannot list {path}: {source}")]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no video at all.
    #[error("there is no video in {0} or below")]
    NoVideos(PathBuf),
    /// The classes of the videos cannot be told.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// No video gives a clip.
    #[error("no video in {root} gives a clip:{}", list(skipped))]
    NothingUsable {
        /// Where videos were looked for.
        root: PathBuf,
        /// All of them.
        skipped: Vec<SkippedFile>,
    },
}
