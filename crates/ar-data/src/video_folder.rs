mod config;
mod decode;
mod find;

use std::path::{Path, PathBuf};

use burn_dataset::{Dataset, DatasetError};

use crate::batch::VideoItem;
use crate::labels::{Labels, Selected};
use crate::skipped::SkippedFile;
use crate::split::SourceIds;
pub use config::{VideoFolderConfig, VideoFolderError};
use decode::{Scan, scan_all};
use find::find_videos;

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
