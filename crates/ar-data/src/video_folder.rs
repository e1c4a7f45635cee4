use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ar_video::{Clip, Frame, VideoError, VideoReader, is_video_path, square_crop};
use burn_dataset::{Dataset, DatasetError};
use serde::{Deserialize, Serialize};

use crate::batch::VideoItem;

const MIB: usize = 1 << 20;

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
    /// The sub-folders are classes: every video lies in or below one of them.
    pub labels: bool,
    /// Most memory that the frames may take, in MiB.
    pub max_memory_mib: usize,
}

impl Default for VideoFolderConfig {
    fn default() -> Self {
        Self {
            size: 64,
            frames: 16,
            skip: None,
            labels: false,
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
            ("max_memory_mib", self.max_memory_mib, 1),
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

/// A video that gave no clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The video.
    pub path: PathBuf,
    /// Why it gave none.
    pub reason: String,
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
    /// A video without a class.
    #[error(
        "with labels every video lies in a sub-folder of {root} named for its class, \
         but {path} does not"
    )]
    NoClass {
        /// Where videos were looked for.
        root: PathBuf,
        /// The first video of that kind.
        path: PathBuf,
    },
    /// No video gives a clip.
    #[error("no video in {root} gives a clip:{}", list(skipped))]
    NothingUsable {
        /// Where videos were looked for.
        root: PathBuf,
        /// All of them.
        skipped: Vec<Skipped>,
    },
    /// The frames would take more memory than they may.
    #[error(
        "the frames of {root} need about {needed_mib} MiB, going by the first {read} of {videos} \
         videos, but max_memory_mib is {max_memory_mib}; lower size, give skip a value above \
         frames to keep fewer frames, take fewer videos, or raise max_memory_mib"
    )]
    TooLarge {
        /// Where videos were looked for.
        root: PathBuf,
        /// Memory for all videos, if the others are like those read.
        needed_mib: usize,
        /// Videos read until then.
        read: usize,
        /// Videos in all.
        videos: usize,
        /// Memory that they may take.
        max_memory_mib: usize,
    },
}

fn list(skipped: &[Skipped]) -> String {
    skipped
        .iter()
        .fold(String::new(), |mut text, Skipped { path, reason }| {
            let _ = write!(text, "\n  {}: {reason}", path.display());
            text
        })
}

/// Clips of consecutive frames from the videos below a folder.
///
/// Videos are decoded once, when the folder is opened; the frames that belong
/// to a clip stay in memory as bytes.
#[derive(Clone, Debug)]
pub struct VideoFolder {
    config: VideoFolderConfig,
    videos: Vec<Video>,
    /// Number of clips in all videos up to and including each one.
    ends: Vec<usize>,
    classes: Vec<String>,
    skipped: Vec<Skipped>,
}

#[derive(Clone, Debug)]
struct Video {
    path: PathBuf,
    label: Option<usize>,
    clips: usize,
    /// `[kept frames, size, size, 3]`; see [`decode`].
    pixels: Vec<u8>,
}

impl VideoFolder {
    /// Reads the videos in and below `root`, in the order of their paths, or
    /// the one video that `root` is. A folder of images is a video, unless
    /// there are video files beside the images. Other files and names that
    /// begin with a dot are passed over.
    ///
    /// Before each video `progress` is told how many are done, how many there
    /// are, and which is next. Videos that are broken or shorter than a clip
    /// are left out and listed in [`Self::skipped`].
    ///
    /// # Errors
    /// If the configuration is out of range, a folder does not list, no clip
    /// is found, a video has no class though there should be labels, or the
    /// frames take too much memory.
    pub fn open(
        root: &Path,
        config: VideoFolderConfig,
        mut progress: impl FnMut(usize, usize, &Path),
    ) -> Result<Self, VideoFolderError> {
        config.validate()?;
        let paths = find_videos(root)?;
        if paths.is_empty() {
            return Err(VideoFolderError::NoVideos(root.to_path_buf()));
        }
        let (classes, labels) = if config.labels {
            let (classes, labels) = classify(root, &paths)?;
            (classes, labels.into_iter().map(Some).collect())
        } else {
            (Vec::new(), vec![None; paths.len()])
        };

        let budget = config.max_memory_mib.saturating_mul(MIB);
        let total = paths.len();
        let (mut taken, mut clips) = (0, 0);
        let (mut videos, mut ends, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (done, (path, label)) in paths.into_iter().zip(labels).enumerate() {
            progress(done, total, &path);
            let decoded = match decode(&path, &config, budget - taken) {
                Ok(decoded) => decoded,
                Err(error) => {
                    let reason = reason(&error, &path);
                    skipped.push(Skipped { path, reason });
                    continue;
                }
            };
            if decoded.clips == 0 {
                let reason = format!(
                    "it has {} frames, but a clip has {}",
                    decoded.frames, config.frames
                );
                skipped.push(Skipped { path, reason });
                continue;
            }
            taken += decoded.bytes;
            if taken > budget {
                return Err(VideoFolderError::TooLarge {
                    root: root.to_path_buf(),
                    needed_mib: (taken.div_ceil(done + 1) * total).div_ceil(MIB),
                    read: done + 1,
                    videos: total,
                    max_memory_mib: config.max_memory_mib,
                });
            }
            clips += decoded.clips;
            ends.push(clips);
            videos.push(Video {
                path,
                label,
                clips: decoded.clips,
                pixels: decoded.pixels,
            });
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

    /// The videos that gave no clip.
    pub fn skipped(&self) -> &[Skipped] {
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

impl Dataset<VideoItem> for VideoFolder {
    fn get(&self, index: usize) -> Result<VideoItem, DatasetError> {
        let (video, clip) = self.locate(index);
        let VideoFolderConfig { size, frames, .. } = self.config;
        let bytes = size * size * 3;
        let first = clip * stride(&self.config);
        let pixels = &video.pixels[first * bytes..(first + frames) * bytes];
        let frames = pixels
            .chunks(bytes)
            .map(|rgb| Frame::new(size, size, rgb.to_vec()));
        Ok(VideoItem {
            clip: Clip::new(frames.collect()),
            label: video.label,
        })
    }

    fn len(&self) -> usize {
        *self.ends.last().expect("there is at least one video")
    }
}

/// Kept frames from the start of a clip to the start of the next one.
fn stride(config: &VideoFolderConfig) -> usize {
    config.skip().min(config.frames)
}

struct Decoded {
    /// Frames of the whole video.
    frames: usize,
    clips: usize,
    /// Size of the frames that belong to a clip.
    bytes: usize,
    /// Those frames, unless they are over the budget.
    pixels: Vec<u8>,
}

/// Reads a video and keeps the frames that belong to a clip, if they take no
/// more than `budget` bytes.
fn decode(path: &Path, config: &VideoFolderConfig, budget: usize) -> Result<Decoded, VideoError> {
    let frame_bytes = config.size * config.size * 3;
    let (mut frames, mut pixels) = (0, Vec::new());
    for frame in VideoReader::open(path)? {
        let frame = frame?;
        let within_clip = frames % config.skip() < config.frames;
        if within_clip && pixels.len() + frame_bytes <= budget {
            pixels.extend_from_slice(square_crop(&frame, config.size).rgb());
        }
        frames += 1;
    }
    let clips = match frames.checked_sub(config.frames) {
        Some(rest) => rest / config.skip() + 1,
        None => 0,
    };
    let kept = if clips == 0 {
        0
    } else {
        (clips - 1) * stride(config) + config.frames
    };
    let bytes = kept * frame_bytes;
    // A last clip that did not become whole is cut off.
    pixels.truncate(bytes);
    pixels.shrink_to_fit();
    Ok(Decoded {
        frames,
        clips,
        bytes,
        pixels,
    })
}

/// The message of an error without the path before it.
fn reason(error: &VideoError, path: &Path) -> String {
    let message = error.to_string();
    match message.strip_prefix(&format!("{}: ", path.display())) {
        Some(reason) => reason.to_string(),
        None => message,
    }
}

fn find_videos(root: &Path) -> Result<Vec<PathBuf>, VideoFolderError> {
    if root.is_file() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut videos = Vec::new();
    collect_videos(root, &mut BTreeSet::new(), &mut videos)?;
    videos.sort();
    Ok(videos)
}

/// Adds the videos in and below a folder. `seen` holds the folders that were
/// entered, so that links in a circle end.
fn collect_videos(
    folder: &Path,
    seen: &mut BTreeSet<PathBuf>,
    videos: &mut Vec<PathBuf>,
) -> Result<(), VideoFolderError> {
    let error = |source| VideoFolderError::List {
        path: folder.to_path_buf(),
        source,
    };
    if !seen.insert(folder.canonicalize().map_err(error)?) {
        return Ok(());
    }
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_video_path(&path) {
            files.push(path);
        }
    }
    // Images beside video files are covers or previews of them.
    if files.is_empty() && is_video_path(folder) {
        videos.push(folder.to_path_buf());
        return Ok(());
    }
    videos.append(&mut files);
    // In order, so that of two links to a folder always the same is taken.
    folders.sort();
    folders
        .iter()
        .try_for_each(|path| collect_videos(path, seen, videos))
}

/// Names of the classes, sorted, and the class of each video.
fn classify(root: &Path, paths: &[PathBuf]) -> Result<(Vec<String>, Vec<usize>), VideoFolderError> {
    let names = paths
        .iter()
        .map(|path| {
            let mut parts = path.strip_prefix(root).unwrap_or(path).components();
            match (parts.next(), parts.next()) {
                (Some(class), Some(_)) => Ok(class.as_os_str().to_string_lossy().into_owned()),
                _ => Err(VideoFolderError::NoClass {
                    root: root.to_path_buf(),
                    path: path.clone(),
                }),
            }
        })
        .collect::<Result<Vec<String>, _>>()?;
    let classes: BTreeSet<&String> = names.iter().collect();
    let classes: Vec<String> = classes.into_iter().cloned().collect();
    let label = |name| {
        classes
            .binary_search(name)
            .expect("every name is in the list")
    };
    let labels = names.iter().map(label).collect();
    Ok((classes, labels))
}

#[cfg(test)]
mod tests;
