//! The clips that a model is measured against.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ar_data::shapes::{EVALUATION_SEED, LabelMode, PALETTE};
use ar_data::{
    DataConfig, DataSource, Labels, ShapesConfig, ShapesDataset, ShapesWorld, SourceIds, Split,
    VideoFolder, VideoFolderConfig, VideoItem,
};
use ar_files::ContentHash;
use ar_metrics::physics::World;
use ar_model::ModelConfig;
use ar_video::Frame;
use burn_dataset::Dataset;
use serde::Deserialize;

use crate::cli::EvaluateArgs;

/// Frames of a clip where neither model nor user says.
const FRAMES: usize = 16;

/// Validation clips of the size of the model's VAE.
pub(super) struct Data {
    /// What it is, in words.
    pub name: String,
    /// What of the `[data]` section the clips depend on, with nothing left open.
    pub config: DataConfig,
    /// A number that tells the files of the clips from others; none of clips that are drawn.
    pub fingerprint: Option<ContentHash>,
    /// Frames of a clip.
    pub frames: usize,
    clips: Box<dyn Dataset<VideoItem>>,
    /// The clips, of the dataset's, that are for validation.
    validation: Vec<usize>,
    /// The world that the clips are of, if they are of shapes.
    shapes: Option<ShapesConfig>,
    has_labels: bool,
}

/// The part of ar-train's configuration files that says what data there are.
#[derive(Debug, Deserialize)]
struct File {
    data: DataConfig,
}

impl Data {
    /// Opens the data that the user names, or the world of shapes.
    pub(super) fn open(
        args: &EvaluateArgs,
        class: Option<usize>,
        model: &ModelConfig,
    ) -> anyhow::Result<Self> {
        let vae = model.vae.as_ref();
        let size = vae
            .context("this model has no VAE to make videos with")?
            .image_size();
        let window = model.transformer.as_ref().map(|dit| dit.num_frames);
        let frames = args.frames.map(usize::from);
        let samples = args.samples.get();
        let Some(path) = &args.data else {
            let shapes = ShapesConfig {
                size,
                frames: frames.or(window).unwrap_or(FRAMES),
                ..ShapesConfig::default()
            };
            let config = DataConfig {
                clips: samples,
                validation: samples,
                first_seed: EVALUATION_SEED,
                ..DataConfig::default()
            };
            let name = format!("world of shapes, seeds from {EVALUATION_SEED} on");
            let mut data = Self::shapes(name, config, shapes)?;
            // However many are asked for, a clip is that of its number.
            (data.config.clips, data.config.validation) = (0, 0);
            return Ok(data);
        };
        let name = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("{name}: cannot read"))?;
        let File { data } = toml::from_str(&text).with_context(|| name.clone())?;
        let validation = data.validation;
        let mut data = match data.source.clone() {
            Some(DataSource::Shapes(mut shapes)) => {
                shapes.frames = frames.or(window).unwrap_or(shapes.frames);
                check_size(&name, shapes.size, size)?;
                ensure!(
                    data.clips >= validation,
                    "{name}: data.validation is {validation}, above data.clips, which is {}",
                    data.clips
                );
                Self::shapes(name, data, shapes)?
            }
            Some(DataSource::Videos { path, config }) => {
                let path = path.with_context(|| {
                    format!("{name}: [data.videos] needs data.path, a folder of videos")
                })?;
                check_size(&name, config.size, size)?;
                let config = VideoFolderConfig {
                    frames: frames.unwrap_or(config.frames),
                    ..config
                };
                Self::videos(name, data, &path, config)?
            }
            Some(DataSource::MovingMnist(_)) => {
                bail!(
                    "{name}: data.moving_mnist is no data to measure against; use shapes or videos"
                )
            }
            Some(DataSource::Latents(_)) => {
                bail!("{name}: data.latents holds no pictures to measure against")
            }
            _ => bail!("{name}: [data] must have exactly one of [data.shapes] and [data.videos]"),
        };
        ensure!(
            samples <= validation,
            "--samples is {samples}, and {} holds out {validation} clips: ask for fewer, or raise \
             data.validation, if the model was not trained on them",
            path.display()
        );
        if let Some(class) = class.filter(|_| data.has_labels) {
            data.keep_class(class)?;
            let found = data.validation.len();
            ensure!(
                samples <= found,
                "--samples is {samples}, and {} holds out {found} clips of class {class}: ask for \
                 fewer, or raise data.validation, if the model was not trained on them",
                path.display()
            );
        }
        Ok(data)
    }

    fn shapes(name: String, data: DataConfig, config: ShapesConfig) -> anyhow::Result<Self> {
        let world = ShapesWorld::new(config)?;
        let config = world.config().clone();
        let dataset = ShapesDataset::new(world, data.clips, data.first_seed);
        let split = Split::new(data.clips, data.validation, |index| {
            dataset.source_id(index)
        });
        Ok(Self {
            name,
            config: DataConfig {
                source: Some(DataSource::Shapes(config.clone())),
                ..data.without_reading()
            },
            fingerprint: None,
            frames: config.frames,
            has_labels: config.labels != LabelMode::Off,
            shapes: Some(config),
            validation: split.validation,
            clips: Box::new(dataset),
        })
    }

    fn videos(
        name: String,
        data: DataConfig,
        path: &Path,
        config: VideoFolderConfig,
    ) -> anyhow::Result<Self> {
        let clips = open_folder(path, config, data.labels.as_ref(), data.workers)?;
        ensure!(
            data.validation <= clips.len(),
            "{name}: data.validation is {}, and there are {} clips",
            data.validation,
            clips.len()
        );
        let mut fingerprint = fingerprint(path, &clips)?;
        if let Some(Labels::Csv(table)) = &data.labels {
            fingerprint = fingerprint
                .and_file(table)
                .with_context(|| table.display().to_string())?;
        }
        let split = Split::new(clips.len(), data.validation, |index| clips.source_id(index));
        Ok(Self {
            name,
            config: DataConfig {
                source: Some(DataSource::Videos {
                    path: Some(path.to_owned()),
                    config: clips.config().clone(),
                }),
                ..data
            }
            .without_reading(),
            fingerprint: Some(fingerprint),
            frames: clips.config().frames,
            has_labels: !clips.class_names().is_empty(),
            validation: split.validation,
            clips: Box::new(clips),
            shapes: None,
        })
    }

    /// Leaves the clips of other classes out.
    fn keep_class(&mut self, class: usize) -> anyhow::Result<()> {
        let mut kept = Vec::new();
        for (clip, &index) in self.validation.iter().enumerate() {
            if self.label(clip)? == Some(class) {
                kept.push(index);
            }
        }
        self.validation = kept;
        Ok(())
    }

    /// Whether clips are of a world of shapes.
    pub(super) fn is_world(&self) -> bool {
        self.shapes.is_some()
    }

    /// Whether clips have labels.
    pub(super) fn has_labels(&self) -> bool {
        self.has_labels
    }

    /// The laws of the data, if they are a world of shapes: of clips of a class, where one is given
    /// and clips have labels.
    pub(super) fn world(&self, class: Option<usize>) -> Option<World> {
        let config = self.shapes.as_ref()?;
        let mut world = laws(config);
        match (config.labels, class) {
            (LabelMode::Count, Some(class)) => {
                let shapes = config.min_shapes + class;
                world.shapes = shapes..=shapes;
            }
            (LabelMode::Kind, Some(class)) => {
                let outline = world.outlines.get(class).copied();
                world.outlines = outline.map_or(world.outlines, |outline| vec![outline]);
            }
            (LabelMode::Off, _) | (_, None) => {}
        }
        Some(world)
    }

    /// The frames of a validation clip.
    pub(super) fn clip(&self, index: usize) -> anyhow::Result<Vec<Frame>> {
        Ok(self.item(index)?.clip.into_frames())
    }

    /// The class of a validation clip, if it has one.
    pub(super) fn label(&self, index: usize) -> anyhow::Result<Option<usize>> {
        Ok(self.item(index)?.label)
    }

    fn item(&self, index: usize) -> anyhow::Result<VideoItem> {
        let item = self.clips.get(self.validation[index]);
        item.with_context(|| format!("clip {index} of {}", self.name))
    }
}

/// The clips of a folder of videos; those that are skipped are told.
pub(super) fn open_folder(
    path: &Path,
    config: VideoFolderConfig,
    labels: Option<&Labels>,
    workers: usize,
) -> anyhow::Result<VideoFolder> {
    let folder = VideoFolder::open(path, config, labels, workers, |_, _| {})?;
    for skipped in folder.skipped() {
        let path = skipped.path.display();
        ar_cli::tell(format_args!("skipped {path}: {}", skipped.reason));
    }
    Ok(folder)
}

/// A number that tells the videos of a folder from others, by their names and contents.
///
/// # Errors
/// If one cannot be read.
pub(super) fn fingerprint(root: &Path, videos: &VideoFolder) -> anyhow::Result<ContentHash> {
    let mut fingerprint = ContentHash::EMPTY;
    for (path, _) in videos.videos() {
        for file in files(path).with_context(|| path.display().to_string())? {
            let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy();
            fingerprint = fingerprint
                .and(name.as_bytes())
                .and_file(&file)
                .with_context(|| file.display().to_string())?;
        }
    }
    Ok(fingerprint)
}

/// The files of a video: itself, or the images that it is a folder of.
fn files(video: &Path) -> io::Result<Vec<PathBuf>> {
    if video.is_file() {
        return Ok(vec![video.to_owned()]);
    }
    let entries = fs::read_dir(video)?.map(|entry| Ok(entry?.path()));
    let mut files: Vec<PathBuf> = entries.collect::<io::Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

fn check_size(name: &str, data: usize, model: usize) -> anyhow::Result<()> {
    ensure!(
        data == model,
        "{name}: the data have size {data}, and the model makes frames of {model}x{model}"
    );
    Ok(())
}

/// What is known of a world of shapes.
fn laws(config: &ShapesConfig) -> World {
    World {
        background: config.background,
        palette: PALETTE.to_vec(),
        outlines: config.shapes.clone(),
        shapes: config.min_shapes..=config.max_shapes,
        radius: config.min_radius..=config.max_radius,
        min_speed: config.min_speed,
        collide: config.collide,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ar_metrics::physics::{Failures, PhysicsReport, measure};

    /// The floor under every figure: what the measures say of rendered ground truth.
    #[test]
    fn ground_truth_is_lawful() {
        let config = ShapesConfig::default();
        let world = laws(&config);
        let shapes = ShapesWorld::new(config).unwrap();
        let clips: Vec<_> = (0..200)
            .map(|i| shapes.clip(EVALUATION_SEED + i).clip)
            .map(|clip| measure(&world, clip.frames(), None))
            .collect();
        let report = PhysicsReport::new(&clips);
        assert_eq!(report.object_count.mean, Some(1.0));
        assert_eq!(report.failures, Failures::default());
        // Rounding to pixels of 8 bits.
        for (curve, most) in [
            (&report.radius_drift, 0.001),
            (&report.velocity_error, 0.01),
            (&report.energy_drift, 0.01),
        ] {
            assert!(curve.mean.unwrap() < most, "{curve:?}");
        }
        assert!(report.reflections > 100 && report.collisions > 20);
        assert!(report.reflection_error.unwrap() < 0.5);
        assert!(report.collision_error.unwrap() < 1.0);
    }
}
