mod decode;
mod find;

use std::io;
use std::path::{Path, PathBuf};

use burn_dataset::{Dataset, DatasetError};
use serde::{Deserialize, Serialize};

use crate::batch::VideoItem;
use crate::labels::{Labels, LabelsError, Selected};
use crate::skipped::{SkippedFile, list};
use crate::split::SourceIds;
use decode::{Scan, scan_all};
use find::find_videos;

/// Configuration of a [`VideoFolder`].
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
    fn skip(&self) -> usize {
        self.skip.unwrap_or(self.frames)
    }

    fn validate(&self) -> Result<(), VideoFolderError> {
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

/// Clips of consecutive frames from the videos below a folder.
///
/// Videos are decoded once, when the folder is opened: then it is known how many clips there are
/// and which videos are broken. The frames that belong to a clip stay in memory as bytes while
/// there is room for them.
#[derive(Clone, Debug)]
pub struct VideoFolder {
    config: VideoFolderConfig,
    videos: Vec<Video>,
    /// Number of clips in all videos up to and including each one.
    ends: Vec<usize>,
    classes: Vec<String>,
    skipped: Vec<SkippedFile>,
}

#[derive(Clone, Debug)]
struct Video {
    path: PathBuf,
    label: Option<usize>,
    /// A checksum of the path below the root.
    source: u64,
    clips: usize,
    /// `[kept frames, size, size, 3]`, if they are kept; see [`decode::scan`].
    pixels: Option<Vec<u8>>,
}

impl VideoFolder {
    /// Reads the videos in and below `root`, in the order of their paths, or the one video that
    /// `root` is, on `workers` threads. A folder of images is a video, unless there are video files
    /// beside the images. Other files and names that begin with a dot are passed over.
    ///
    /// After each video `progress` is told how many are done and how many there are. Videos that
    /// are broken, shorter than a clip, or without a class though there are `labels`, are left out
    /// and listed in [`Self::skipped`].
    ///
    /// # Errors
    /// If the configuration is out of range, a folder does not list, no clip is found, or the
    /// labels make no sense.
    pub fn open(
        root: impl AsRef<Path>,
        config: VideoFolderConfig,
        labels: Option<&Labels>,
        workers: usize,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, VideoFolderError> {
        let root = root.as_ref();
        config.validate()?;
        let paths = find_videos(root)?;
        if paths.is_empty() {
            return Err(VideoFolderError::NoVideos(root.to_path_buf()));
        }
        let mut skipped = Vec::new();
        let Selected { classes, files } = Labels::select(labels, root, paths, &mut skipped)?;
        let (paths, labels): (Vec<_>, Vec<_>) = files.into_iter().unzip();

        let scanned = scan_all(&paths, &config, workers, progress);
        let mut clips = 0;
        let (mut videos, mut ends) = (Vec::new(), Vec::new());
        for ((path, label), scanned) in paths.into_iter().zip(labels).zip(scanned) {
            match scanned {
                Ok(Scan {
                    clips: of_video,
                    pixels,
                }) => {
                    clips += of_video;
                    ends.push(clips);
                    videos.push(Video {
                        source: name_number(root, &path),
                        path,
                        label,
                        clips: of_video,
                        pixels,
                    });
                }
                Err(reason) => skipped.push(SkippedFile { path, reason }),
            }
        }
        if videos.is_empty() {
            return Err(VideoFolderError::NothingUsable {
                root: root.to_path_buf(),
                skipped,
            });
        }
        Ok(Self {
            config,
            videos,
            ends,
            classes,
            skipped,
        })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &VideoFolderConfig {
        &self.config
    }

    /// Names of the classes in the order of the labels; empty without labels.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// The videos that give no clip.
    pub fn skipped(&self) -> &[SkippedFile] {
        &self.skipped
    }

    /// The videos that clips come from and how many each gives.
    pub fn videos(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.videos
            .iter()
            .map(|video| (video.path.as_path(), video.clips))
    }

    /// Where a clip comes from: its video and the number of its first frame
    /// there.
    ///
    /// # Panics
    /// If there are not so many clips.
    pub fn origin(&self, index: usize) -> (&Path, usize) {
        let (video, clip) = self.locate(index);
        (&video.path, clip * self.config.skip())
    }

    /// The video of a clip and the clip's number in it.
    fn locate(&self, index: usize) -> (&Video, usize) {
        assert!(index < self.len(), "item {index} of {}", self.len());
        let video = self.ends.partition_point(|&end| end <= index);
        let start = self.ends[video] - self.videos[video].clips;
        (&self.videos[video], index - start)
    }
}

fn name_number(root: &Path, path: &Path) -> u64 {
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
    u64::from(crc32c::crc32c(name.replace('\\', "/").as_bytes()))
}

impl SourceIds for VideoFolder {
    fn source_id(&self, index: usize) -> u64 {
        self.locate(index).0.source
    }
}

impl Dataset<VideoItem> for VideoFolder {
    fn get(&self, index: usize) -> Result<VideoItem, DatasetError> {
        let (video, clip) = self.locate(index);
        let clip = match &video.pixels {
            Some(pixels) => decode::kept_clip(pixels, clip, &self.config),
            None => {
                decode::read_clip(&video.path, clip, &self.config).map_err(DatasetError::new)?
            }
        };
        Ok(VideoItem {
            clip,
            label: video.label,
            source: video.source,
        })
    }

    fn len(&self) -> usize {
        *self.ends.last().expect("there is at least one video")
    }
}

#[cfg(test)]
mod tests;
