mod config;
mod decode;
mod find;

use std::path::{Path, PathBuf};

use burn_dataset::{Dataset, DatasetError};

use crate::batch::VideoItem;
use crate::labels::{Labels, Selected};
use crate::list::{VideoList, select};
use crate::progress::Progress;
use crate::skipped::{SkipKind, SkippedFile, reasons};
use crate::split::SourceIds;
pub use config::{VideoFolderConfig, VideoFolderError};
pub use decode::is_environment;
use decode::{Scan, ScanEnd, scan_all};
use find::{Found, find_videos};

/// Clips of consecutive frames from the videos below a folder.
///
/// All videos are decoded when the folder is opened, which determines how many clips there are and
/// which videos are broken. Frames that belong to a clip are kept in memory as bytes while there is
/// room for them.
#[derive(Clone, Debug)]
pub struct VideoFolder {
    config: VideoFolderConfig,
    videos: Vec<Video>,
    /// Number of clips in all videos up to and including each one.
    ends: Vec<usize>,
    classes: Vec<String>,
    skipped: Vec<SkippedFile>,
    /// Videos that were read, usable or not.
    scanned: usize,
}

/// Which videos of a folder belong to the dataset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// Their classes; with a table of classes, videos that are not in it are left out.
    pub labels: Option<&'a Labels>,
    /// The videos, and folders of videos, to use. Without it, all are used.
    pub list: Option<&'a VideoList>,
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
    /// `root` is, on `workers` threads. A folder of images is a video if there is nothing else in
    /// it that may be one: no video file, no animation, and no folder with videos or images. Names
    /// that start with a dot are ignored.
    ///
    /// After each video, `progress` gets the number of videos read so far and the number of all
    /// videos; it may stop the reading. Videos that are broken, shorter than a clip, or without a
    /// class although there are labels, are left out and listed in [`Self::skipped`], and so are
    /// files that may be intended as videos but are not.
    ///
    /// # Errors
    /// If the configuration is out of range, a folder cannot be listed, no clip is found, too many
    /// videos are unusable, the list or the labels are invalid, `progress` stops the reading, or a
    /// video cannot be read because of the environment
    /// ([`VideoError::is_environment`](ar_video::VideoError::is_environment)).
    pub fn open(
        root: impl AsRef<Path>,
        config: VideoFolderConfig,
        selection: Selection<'_>,
        workers: usize,
        progress: impl Progress,
    ) -> Result<Self, VideoFolderError> {
        let root = root.as_ref();
        config.validate()?;
        let Found {
            videos: paths,
            passed_over,
        } = find_videos(root)?;
        if paths.is_empty() {
            return Err(VideoFolderError::NoVideos {
                root: root.to_path_buf(),
                passed_over,
            });
        }
        let mut skipped = passed_over;
        let paths = match selection.list {
            Some(list) => select(list, root, paths, config.max_unusable, &mut skipped)?,
            None => paths,
        };
        let labels = selection.labels;
        let Selected { classes, files } = Labels::select(labels, root, paths, &mut skipped)?;
        let (paths, labels): (Vec<_>, Vec<_>) = files.into_iter().unzip();

        let scanned = scan_all(&paths, &config, workers, progress).map_err(|end| match end {
            ScanEnd::Interrupted => VideoFolderError::Interrupted,
            ScanEnd::Environment(error) => VideoFolderError::Environment(error),
            ScanEnd::NoThread(error) => VideoFolderError::NoThread(error),
        })?;
        let count = scanned.len();
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
                Err(reason) => skipped.push(SkippedFile {
                    path,
                    kind: SkipKind::Unusable,
                    reason,
                }),
            }
        }
        // In the order in which they are reported: videos first.
        skipped.sort_by_key(|file| file.kind);
        if videos.is_empty() {
            return Err(VideoFolderError::NothingUsable {
                root: root.to_path_buf(),
                skipped,
            });
        }
        let unusable = count - videos.len();
        if unusable as f64 > config.max_unusable * count as f64 {
            return Err(VideoFolderError::TooManyUnusable {
                unusable,
                videos: count,
                most: config.max_unusable,
                skipped,
            });
        }
        Ok(Self {
            config,
            videos,
            ends,
            classes,
            skipped,
            scanned: count,
        })
    }

    /// Lines for the user about what was left out: how much, and the most common reasons.
    pub fn report(&self) -> Vec<String> {
        let count = |kind| self.skipped.iter().filter(|file| file.kind == kind).count();
        let line = |kind, text: String| {
            (count(kind) > 0).then(|| format!("{text}: {}", reasons(&self.skipped, kind)))
        };
        let (unusable, scanned) = (count(SkipKind::Unusable), self.scanned);
        let mut lines = Vec::from_iter(line(
            SkipKind::Unusable,
            match unusable {
                1 => format!("1 of {scanned} videos has no usable clip and is left out"),
                _ => format!("{unusable} of {scanned} videos have no usable clip and are left out"),
            },
        ));
        lines.extend(line(
            SkipKind::NoVideo,
            "files and folders that are not read as videos".into(),
        ));
        for (kind, of_one, of_many) in [
            (
                SkipKind::NoFile,
                "row of the table of labels, or of the list, names no video of the dataset",
                "rows of the table of labels, or of the list, name no video of the dataset",
            ),
            (
                SkipKind::NoLabel,
                "video has no row in the table of labels and is left out",
                "videos have no row in the table of labels and are left out",
            ),
        ] {
            if let Some(first) = self.skipped.iter().find(|file| file.kind == kind) {
                let first = first.path.display();
                lines.push(match count(kind) {
                    1 => format!("1 {of_one}: {first}"),
                    count => format!("{count} {of_many}, such as {first}"),
                });
            }
        }
        lines
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &VideoFolderConfig {
        &self.config
    }

    /// Names of the classes in the order of the labels; empty without labels.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// Files without a usable clip, videos first.
    pub fn skipped(&self) -> &[SkippedFile] {
        &self.skipped
    }

    /// The videos that clips come from, and how many clips each has.
    pub fn videos(&self) -> impl Iterator<Item = (&Path, usize)> {
        self.videos
            .iter()
            .map(|video| (video.path.as_path(), video.clips))
    }

    /// Where a clip comes from: its video, and the number of its first frame in it.
    ///
    /// # Panics
    /// If there is no such clip.
    pub fn origin(&self, index: usize) -> (&Path, usize) {
        let (video, clip) = self.locate(index);
        (&video.path, clip * self.config.skip())
    }

    /// The class of a clip, without reading it; none without labels.
    ///
    /// # Panics
    /// If there is no such clip.
    pub fn label(&self, index: usize) -> Option<usize> {
        self.locate(index).0.label
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
