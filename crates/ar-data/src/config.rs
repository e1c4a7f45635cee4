//! The `[data]` section of configuration files, and opening what it names.

use std::ops::Not;
use std::path::PathBuf;

use ar_files::{expand_home, home_of_another, not_a_home};
use burn_dataset::{Dataset, DatasetError};
use serde::{Deserialize, Serialize};

use crate::batch::VideoItem;
use crate::labels::Labels;
use crate::latents::{LatentDataset, LatentError};
use crate::list::{ListError, VideoList};
use crate::moving_mnist::{MovingMnist, MovingMnistConfig, MovingMnistError};
use crate::progress::Progress;
use crate::shapes::{ShapesConfig, ShapesDataset, ShapesError, ShapesWorld};
use crate::skipped::SkippedFile;
use crate::split::SourceIds;
use crate::video_folder::{Selection, VideoFolder, VideoFolderConfig, VideoFolderError};

/// The `[data]` section: where data come from, and how they are split, read and augmented.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Section", into = "Section")]
pub struct DataConfig {
    /// Number of clips of a synthetic world.
    pub clips: usize,
    /// Seed of the first clip of a synthetic world.
    pub first_seed: u64,
    /// Clips for validation: see [`Split`](crate::Split).
    pub validation: usize,
    /// Threads that prefetch batches. Their number does not change the batches.
    pub workers: usize,
    /// The most batches that are prefetched.
    pub prefetch: usize,
    /// Whether training clips are mirrored left to right at random.
    pub flip: bool,
    /// Whether an epoch takes one random clip of every video instead of every clip (published, for
    /// single frames: yes). Only for stages that train on clips.
    pub one_per_video: bool,
    /// Classes of a folder of videos, or of `.npy` latents.
    pub labels: Option<Labels>,
    /// The videos that belong to the dataset, such as the videos of a split. Without it, all videos belong.
    pub list: Option<VideoList>,
    /// Where the data come from; `None` until a configuration says so.
    pub source: Option<DataSource>,
}

/// Where data come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DataSource {
    /// `[data.shapes]`: the world of bouncing shapes.
    Shapes(ShapesConfig),
    /// `[data.moving_mnist]`: moving digits, drawn from the MNIST files.
    MovingMnist(MovingMnistConfig),
    /// `[data.videos]`: clips from videos.
    Videos {
        /// `data.path`: a folder of videos, or one video. It has to be given when they are opened.
        path: Option<PathBuf>,
        /// How clips are cut from them.
        config: VideoFolderConfig,
    },
    /// `data.latents`: a folder that `ar-train latents` has written, or a folder of `.npy` files of
    /// the reference implementation.
    Latents(PathBuf),
}

/// The section as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    clips: usize,
    first_seed: u64,
    // The name in older versions.
    #[serde(alias = "held_out")]
    validation: usize,
    workers: usize,
    prefetch: usize,
    flip: bool,
    // As files of older versions are: without it.
    #[serde(skip_serializing_if = "Not::not")]
    one_per_video: bool,
    labels: Option<Labels>,
    list: Option<VideoList>,
    shapes: Option<ShapesConfig>,
    moving_mnist: Option<MovingMnistConfig>,
    path: Option<PathBuf>,
    videos: Option<VideoFolderConfig>,
    latents: Option<PathBuf>,
}

impl Default for Section {
    fn default() -> Self {
        DataConfig::default().into()
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            clips: 4096,
            first_seed: 0,
            validation: 16,
            workers: 2,
            prefetch: 4,
            flip: false,
            one_per_video: false,
            labels: None,
            list: None,
            source: None,
        }
    }
}

impl From<DataConfig> for Section {
    fn from(config: DataConfig) -> Self {
        let DataConfig {
            clips,
            first_seed,
            validation,
            workers,
            prefetch,
            flip,
            one_per_video,
            labels,
            list,
            source,
        } = config;
        let mut section = Self {
            clips,
            first_seed,
            validation,
            workers,
            prefetch,
            flip,
            one_per_video,
            labels,
            list,
            shapes: None,
            moving_mnist: None,
            path: None,
            videos: None,
            latents: None,
        };
        match source {
            None => {}
            Some(DataSource::Shapes(config)) => section.shapes = Some(config),
            Some(DataSource::MovingMnist(config)) => section.moving_mnist = Some(config),
            Some(DataSource::Videos { path, config }) => {
                section.path = path;
                section.videos = Some(config);
            }
            Some(DataSource::Latents(path)) => section.latents = Some(path),
        }
        section
    }
}

impl TryFrom<Section> for DataConfig {
    type Error = DataError;

    fn try_from(section: Section) -> Result<Self, DataError> {
        let Section {
            clips,
            first_seed,
            validation,
            workers,
            prefetch,
            flip,
            one_per_video,
            labels,
            list,
            shapes,
            moving_mnist,
            path,
            videos,
            latents,
        } = section;
        let images = moving_mnist.as_ref().map(|config| config.images.as_path());
        for (key, path) in [
            ("path", path.as_deref()),
            ("latents", latents.as_deref()),
            ("list", list.as_ref().and_then(VideoList::file)),
            ("moving_mnist.images", images),
        ] {
            if let Some(path) = path
                && let Some(user) = home_of_another(path)
            {
                return Err(DataError::Home {
                    key,
                    path: path.to_owned(),
                    user,
                });
            }
        }
        // Expanded here rather than where they are used, so that every reader of the section gets expanded paths.
        let [path, latents] = [path, latents].map(|path: Option<PathBuf>| path.map(expand_home));
        let list = list.map(VideoList::with_home);
        let moving_mnist = moving_mnist.map(|config| MovingMnistConfig {
            images: expand_home(&config.images),
            ..config
        });
        let is_drawn = shapes.is_some() || moving_mnist.is_some();
        if path.is_some() && videos.is_none() && (is_drawn || latents.is_some()) {
            return Err(DataError::NotVideos("path"));
        }
        let mut sources = [
            shapes.map(DataSource::Shapes),
            moving_mnist.map(DataSource::MovingMnist),
            videos.map(|config| DataSource::Videos {
                path: path.clone(),
                config,
            }),
            latents.map(DataSource::Latents),
        ]
        .into_iter()
        .flatten();
        let source = sources.next();
        // A path does not define clips without [data.videos].
        if sources.next().is_some() || (source.is_none() && path.is_some()) {
            return Err(DataError::Source);
        }
        if is_drawn && labels.is_some() {
            return Err(DataError::NotVideos("labels"));
        }
        if list.is_some() && !matches!(source, Some(DataSource::Videos { .. }) | None) {
            return Err(DataError::NotVideos("list"));
        }
        Ok(Self {
            clips,
            first_seed,
            validation,
            workers,
            prefetch,
            flip,
            one_per_video,
            labels,
            list,
            source,
        })
    }
}

impl DataConfig {
    /// The configuration without the keys that change neither clips nor their split. The rest shows
    /// whether two evaluations, or two folders of latents, have the same clips.
    pub fn without_reading(&self) -> Self {
        let defaults = Self::default();
        let mut config = Self {
            workers: defaults.workers,
            prefetch: defaults.prefetch,
            // Clips are mirrored, and chosen by video, only while a network trains on them.
            flip: defaults.flip,
            one_per_video: defaults.one_per_video,
            ..self.clone()
        };
        if let Some(DataSource::Videos { config, .. }) = &mut config.source {
            let defaults = VideoFolderConfig::default();
            config.max_memory_mib = defaults.max_memory_mib;
            config.max_unusable = defaults.max_unusable;
        }
        config
    }

    /// Opens a dataset of clips. After each file, `progress` gets the number of files read so far
    /// and the number of all files; it may stop the reading.
    ///
    /// # Errors
    /// If the section has no clips, they cannot be read, or `progress` stops the reading.
    pub fn open_clips(&self, progress: impl Progress) -> Result<ClipDataset, DataError> {
        match self.source.as_ref().ok_or(DataError::Source)? {
            DataSource::Shapes(config) => {
                let world = ShapesWorld::new(config.clone())?;
                if self.first_seed.checked_add(self.clips as u64).is_none() {
                    return Err(DataError::Seeds);
                }
                let dataset = ShapesDataset::new(world, self.clips, self.first_seed);
                Ok(ClipDataset::Shapes(dataset))
            }
            DataSource::MovingMnist(config) => {
                let dataset = MovingMnist::open(config.clone(), self.clips, self.first_seed);
                dataset
                    .map(ClipDataset::MovingMnist)
                    .map_err(|source| DataError::MovingMnist {
                        images: config.images.clone(),
                        source,
                    })
            }
            DataSource::Videos { path, config } => {
                let path = path.as_deref().ok_or(DataError::NoPath)?;
                let selection = Selection {
                    labels: self.labels.as_ref(),
                    list: self.list.as_ref(),
                };
                VideoFolder::open(path, config.clone(), selection, self.workers, progress)
                    .map(ClipDataset::Videos)
                    .map_err(|source| DataError::Videos {
                        path: path.to_owned(),
                        source,
                    })
            }
            DataSource::Latents(_) => Err(DataError::NotClips),
        }
    }

    /// Opens a dataset of latents.
    ///
    /// # Errors
    /// If the section has no latents, they cannot be read, or it has keys that do not apply to
    /// latents.
    pub fn open_latents(&self) -> Result<LatentDataset, DataError> {
        let Some(DataSource::Latents(path)) = &self.source else {
            return Err(DataError::NotLatents);
        };
        if self.flip {
            return Err(DataError::FlippedLatents);
        }
        if self.one_per_video {
            return Err(DataError::LatentsOfVideos);
        }
        LatentDataset::load(path, self.labels.as_ref()).map_err(|source| DataError::Latents {
            path: path.clone(),
            source: Box::new(source),
        })
    }
}

/// A dataset of clips of any kind.
#[derive(Clone)]
#[non_exhaustive]
pub enum ClipDataset {
    /// Clips of bouncing shapes.
    Shapes(ShapesDataset),
    /// Clips of moving digits.
    MovingMnist(MovingMnist),
    /// Clips of videos.
    Videos(VideoFolder),
}

impl ClipDataset {
    /// Names of the classes in the order of the labels; empty without labels.
    pub fn class_names(&self) -> Vec<String> {
        match self {
            Self::Shapes(dataset) => dataset.world().label_names(),
            Self::MovingMnist(_) => Vec::new(),
            Self::Videos(folder) => folder.class_names().to_vec(),
        }
    }

    /// The files and folders of frames that clips come from.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Shapes(_) => Vec::new(),
            Self::MovingMnist(dataset) => vec![dataset.images().to_owned()],
            Self::Videos(folder) => folder.videos().map(|(path, _)| path.to_owned()).collect(),
        }
    }

    /// Lines for the user about what was left out: how much, and the most common reasons.
    pub fn report(&self) -> Vec<String> {
        match self {
            Self::Shapes(_) | Self::MovingMnist(_) => Vec::new(),
            Self::Videos(folder) => folder.report(),
        }
    }

    /// Files that were left out.
    pub fn skipped(&self) -> &[SkippedFile] {
        match self {
            Self::Shapes(_) | Self::MovingMnist(_) => &[],
            Self::Videos(folder) => folder.skipped(),
        }
    }
}

impl Dataset<VideoItem> for ClipDataset {
    fn get(&self, index: usize) -> Result<VideoItem, DatasetError> {
        match self {
            Self::Shapes(dataset) => dataset.get(index),
            Self::MovingMnist(dataset) => dataset.get(index),
            Self::Videos(dataset) => dataset.get(index),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Shapes(dataset) => dataset.len(),
            Self::MovingMnist(dataset) => dataset.len(),
            Self::Videos(dataset) => dataset.len(),
        }
    }
}

impl SourceIds for ClipDataset {
    fn source_id(&self, index: usize) -> u64 {
        match self {
            Self::Shapes(dataset) => dataset.source_id(index),
            Self::MovingMnist(dataset) => dataset.source_id(index),
            Self::Videos(dataset) => dataset.source_id(index),
        }
    }
}

/// An invalid `[data]` section.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is no source, or there are several.
    #[error(
        "[data] must have exactly one of [data.shapes], [data.moving_mnist], [data.videos] and \
         latents"
    )]
    Source,
    /// A key that only applies to videos.
    #[error("data.{0} goes with [data.videos]")]
    NotVideos(&'static str),
    /// The home folder of another user.
    #[error("data.{key} = {}: {}", path.display(), not_a_home(user))]
    Home {
        /// The key.
        key: &'static str,
        /// Its value.
        path: PathBuf,
        /// The user.
        user: String,
    },
    /// The folder of videos is missing.
    #[error("[data.videos] needs data.path, a folder of videos: `--set data.path=FOLDER`")]
    NoPath,
    /// Latents instead of clips.
    #[error("data.latents has no pictures: this stage needs clips")]
    NotClips,
    /// Clips instead of latents.
    #[error("data.latents is not given: the folder that `ar-train latents` wrote for this dataset")]
    NotLatents,
    /// Latents cannot be mirrored.
    #[error("data.flip mirrors pictures: it goes with the vae stage, not with latents")]
    FlippedLatents,
    /// Latents cannot be chosen by video.
    #[error("data.one_per_video draws single clips of videos: it goes with the vae stage")]
    LatentsOfVideos,
    /// The last seed is beyond 64 bits.
    #[error("data.first_seed + data.clips is beyond 64 bits; use a smaller first_seed")]
    Seeds,
    /// `[data.shapes]` is invalid.
    #[error(transparent)]
    Shapes(#[from] ShapesError),
    /// The moving digits cannot be drawn.
    #[error("{source}")]
    MovingMnist {
        /// The file of digits.
        images: PathBuf,
        /// Why.
        source: MovingMnistError,
    },
    /// The videos do not make a dataset.
    #[error("{source}")]
    Videos {
        /// The folder of videos.
        path: PathBuf,
        /// Why.
        source: VideoFolderError,
    },
    /// The latents do not make a dataset.
    #[error("{source}")]
    Latents {
        /// The folder of latents.
        path: PathBuf,
        /// Why.
        source: Box<LatentError>,
    },
}

impl DataError {
    /// Whether `progress` stopped the reading.
    pub fn is_interrupt(&self) -> bool {
        matches!(
            self,
            Self::Videos {
                source: VideoFolderError::Interrupted,
                ..
            }
        )
    }

    /// The keys that caused the error, with their sections: `data.shapes.size`.
    pub fn keys(&self) -> Vec<String> {
        let in_section = |section: &str, key: &str| format!("data.{section}.{key}");
        let keys: &[&str] = match self {
            Self::Source => &["data"],
            Self::NotVideos(key) => return vec![format!("data.{key}")],
            Self::Home { key, .. } => return vec![format!("data.{key}")],
            Self::NoPath => &["data.path", "data.videos"],
            Self::NotClips | Self::NotLatents => &["data.latents"],
            Self::FlippedLatents => &["data.flip"],
            Self::LatentsOfVideos => &["data.one_per_video"],
            Self::Seeds => &["data.first_seed", "data.clips"],
            Self::Shapes(error) => {
                let keys = error.keys();
                return keys.iter().map(|key| in_section("shapes", key)).collect();
            }
            Self::MovingMnist { source, .. } => match source {
                MovingMnistError::NoImages | MovingMnistError::Images(_) => {
                    &["data.moving_mnist.images"]
                }
                MovingMnistError::OutOfRange { field, .. } => {
                    return vec![in_section("moving_mnist", field)];
                }
                MovingMnistError::Seeds { .. } => &["data.first_seed", "data.clips"],
            },
            Self::Videos { source, .. } => match source {
                VideoFolderError::OutOfRange { field, .. } => {
                    return vec![in_section("videos", field)];
                }
                VideoFolderError::Share(_) => &["data.videos.max_unusable"],
                VideoFolderError::Labels(_) => &["data.labels"],
                VideoFolderError::TooManyUnusable { .. } => {
                    &["data.path", "data.videos.max_unusable"]
                }
                VideoFolderError::Selection(ListError::TooManyMissing { .. }) => {
                    &["data.list", "data.path", "data.videos.max_unusable"]
                }
                VideoFolderError::Selection(_) => &["data.list"],
                _ => &["data.path"],
            },
            Self::Latents { source, .. } => match **source {
                LatentError::Labels(_) | LatentError::OwnLabels(_) => &["data.labels"],
                _ => &["data.latents"],
            },
        };
        keys.iter().map(|&key| key.to_owned()).collect()
    }

    /// If the error is about files that cannot be read, the key that names them, with its value.
    pub fn files(&self) -> Option<String> {
        let (key, path) = match self {
            Self::MovingMnist {
                images,
                source: MovingMnistError::Images(_),
            } => ("data.moving_mnist.images", images),
            Self::Videos { path, source }
                if !matches!(
                    source,
                    VideoFolderError::OutOfRange { .. }
                        | VideoFolderError::Share(_)
                        | VideoFolderError::Labels(_)
                        | VideoFolderError::Selection(_)
                ) =>
            {
                ("data.path", path)
            }
            Self::Latents { path, source }
                if !matches!(**source, LatentError::Labels(_) | LatentError::OwnLabels(_)) =>
            {
                ("data.latents", path)
            }
            _ => return None,
        };
        Some(format!("{key} = {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DataConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn homes_of_other_users_are_refused() {
        for text in [
            "path = '~root/v'\n[videos]\n",
            "latents = '~root/l'\n",
            "[moving_mnist]\nimages = '~root/m'\n",
            "labels = '~root/l.csv'\npath = 'v'\n[videos]\n",
        ] {
            let error = toml::from_str::<DataConfig>(text).expect_err("another home");
            assert!(error.to_string().contains("./~root"), "{text}: {error}");
        }
    }

    #[test]
    fn a_tilde_is_home() {
        let home = std::env::home_dir().expect("a home");
        let read = |text: &str| toml::from_str::<DataConfig>(text).expect("a section");
        let config = read("path = \"~/v\"\nlabels = \"~/l.csv\"\nlist = \"~/a\"\n[videos]\n");
        assert_eq!(config.list, Some(VideoList::File(home.join("a"))));
        assert_eq!(config.labels, Some(Labels::Csv(home.join("l.csv"))));
        let Some(DataSource::Videos { path, .. }) = config.source else {
            panic!("videos");
        };
        assert_eq!(path, Some(home.join("v")));
        let config = read("latents = \"~/l\"\n");
        assert_eq!(config.source, Some(DataSource::Latents(home.join("l"))));
        let config = read("[moving_mnist]\nimages = \"~/i\"\n");
        let Some(DataSource::MovingMnist(config)) = config.source else {
            panic!("digits");
        };
        assert_eq!(config.images, home.join("i"));
        let config = read("list = [\"train\"]\n[videos]\n");
        assert_eq!(config.list, Some(VideoList::Names(vec!["train".into()])));
    }

    #[test]
    fn a_section_has_one_source() {
        let source = |text| read(text).expect(text).source;
        assert_eq!(source(""), None);
        assert_eq!(
            source("[shapes]\nsize = 32"),
            Some(DataSource::Shapes(ShapesConfig {
                size: 32,
                ..Default::default()
            }))
        );
        assert_eq!(
            source("[moving_mnist]"),
            Some(DataSource::MovingMnist(Default::default()))
        );
        assert_eq!(
            source("path = 'a'\n[videos]"),
            Some(DataSource::Videos {
                path: Some("a".into()),
                config: Default::default()
            })
        );
        assert_eq!(
            source("latents = 'a'"),
            Some(DataSource::Latents("a".into()))
        );
        for (text, message) in [
            ("latents = 'a'\n[shapes]", "exactly one of"),
            ("[videos]\n[moving_mnist]", "exactly one of"),
            ("path = 'a'", "exactly one of"),
            ("path = 'a'\n[shapes]", "data.path goes with [data.videos]"),
            (
                "labels = 'folders'\n[moving_mnist]",
                "data.labels goes with",
            ),
            ("held_out = 1\nvalidation = 2", "duplicate field"),
            ("clip = 1", "unknown field `clip`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_section_reads_as_it_was_written() {
        for text in [
            "held_out = 3\n[shapes]",
            "path = 'a'\n[videos]",
            "[videos]",
            "latents = 'a'",
        ] {
            let config = read(text).expect(text);
            let written = toml::to_string(&config).expect("TOML");
            assert!(!written.contains("held_out"), "{written}");
            assert_eq!(read(&written), Ok(config));
        }
    }

    #[test]
    fn how_clips_are_read_does_not_tell_them_apart() {
        let config = read(
            "workers = 9\nprefetch = 9\nflip = true\none_per_video = true\npath = 'a'\n[videos]\n\
             max_memory_mib = 1\nmax_unusable = 0.1",
        );
        let config = config.expect("a section");
        let same = read("path = 'a'\n[videos]").expect("a section");
        assert_eq!(config.without_reading(), same);
        let lines = |config: &DataConfig| -> Vec<String> {
            let text = toml::to_string(config).expect("TOML");
            let is_reading = |line: &&str| {
                crate::latents::NOT_OF_LATENTS
                    .iter()
                    .any(|key| line.starts_with(key))
            };
            let rest = text.lines().filter(|line| !is_reading(line));
            rest.map(str::to_owned).collect()
        };
        assert_eq!(lines(&config), lines(&same), "the keys are all of them");
        let other = read("path = 'a'\nvalidation = 3\n[videos]").expect("a section");
        assert_ne!(other.without_reading(), same);
    }

    #[test]
    fn errors_name_their_keys() {
        for (text, keys) in [
            ("", &["data"][..]),
            ("latents = 'gone'", &["data.latents"]),
            (
                "[shapes]\nmin_shapes = 4",
                &["data.shapes.min_shapes", "data.shapes.max_shapes"],
            ),
            ("[videos]", &["data.path", "data.videos"]),
            ("path = 'gone'\n[videos]", &["data.path"]),
            (
                "path = 'gone'\n[videos]\nframes = 0",
                &["data.videos.frames"],
            ),
            (
                "[moving_mnist]\nimages = 'gone'",
                &["data.moving_mnist.images"],
            ),
        ] {
            let error = read(text).expect(text).open_clips(|_, _| ()).err();
            assert_eq!(error.expect(text).keys(), keys, "{text}");
        }
        let error = read("latents = 'gone'").expect("a section").open_latents();
        assert_eq!(
            error.expect_err("no folder").files().as_deref(),
            Some("data.latents = gone")
        );
    }
}
