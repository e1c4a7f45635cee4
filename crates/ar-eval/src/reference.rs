//! The clips that a model is compared with: the ground truth.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ar_data::shapes::{EVALUATION_SEED, LabelMode, PALETTE};
use ar_data::{
    DataConfig, DataSource, EpochShuffle, Labels, Selection, ShapesConfig, ShapesDataset,
    ShapesWorld, SkippedFile, SourceIds, Split, VideoFolder, VideoFolderConfig, VideoItem,
    VideoList,
};
use ar_files::{ContentHash, MOST_TEXT, read_text};
use ar_metrics::physics::World;
use ar_model::{ConditioningConfig, ModelConfig};
use ar_pipeline::PipelineError;
use ar_video::Frame;
use burn_dataset::Dataset;
use serde::Deserialize;

use crate::inputs::check_input;
use crate::{EvaluationError, EvaluationOptions, ReferenceSplit};

/// Frames per clip if neither model nor user sets them.
const FRAMES: usize = 16;

/// The clips that a model is compared with, in the size of the model's VAE.
pub(crate) struct Reference {
    /// A description.
    pub name: String,
    /// The `[data]` section, as far as the clips depend on it, with all defaults filled in.
    pub config: DataConfig,
    /// Content hash of the files of the clips; None for clips that are drawn.
    pub fingerprint: Option<ContentHash>,
    /// Frames per clip.
    pub frames: usize,
    clips: Box<dyn Dataset<VideoItem>>,
    /// The clips of the dataset that are used, in order.
    order: Vec<usize>,
    /// The class of each of these, if they have classes: a number of the model's, if it has classes too.
    labels: Option<Vec<usize>>,
    /// Names of the classes of the data.
    class_names: Vec<String>,
    /// The world of the clips, if they show shapes.
    shapes: Option<ShapesConfig>,
}

/// The part of ar-train's configuration files that defines the data.
#[derive(Debug, Deserialize)]
struct File {
    data: DataConfig,
}

impl Reference {
    /// Opens the data in `options`, or else bouncing shapes. `skipped` gets the videos that are left out.
    ///
    /// # Errors
    /// If the data cannot be read, do not fit the model, or have too few clips.
    pub(crate) fn open(
        options: &EvaluationOptions,
        class: Option<usize>,
        model: &ModelConfig,
        skipped: impl Fn(&SkippedFile),
    ) -> Result<Self, EvaluationError> {
        let vae = model.vae.as_ref().ok_or(PipelineError::NoVae)?;
        let size = vae.image_size();
        let window = model.transformer.as_ref().map(|dit| dit.num_frames);
        let frames = options.frames;
        let samples = options.samples;
        let Some(path) = &options.data else {
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
            if options.split == ReferenceSplit::Training {
                let reason = "is needed to measure against training clips: a configuration that has \
                              some";
                return Err(EvaluationError::option("data", reason));
            }
            let mut reference = Self::shapes(name, config, shapes, options)?;
            // The protocol is the same for any number of clips, because a clip depends only on its number.
            (reference.config.clips, reference.config.validation) = (0, 0);
            return Ok(reference);
        };
        let name = path.display().to_string();
        let text = read_text(path, MOST_TEXT).map_err(EvaluationError::read(path))?;
        let invalid = |source| EvaluationError::Config {
            name: name.clone(),
            source: Box::new(source),
        };
        let File { mut data } = toml::from_str(&text).map_err(invalid)?;
        if options.split == ReferenceSplit::Training && !sets_validation(&text) {
            // Published figures compare with all clips of the training split.
            data.validation = 0;
        }
        let validation = data.validation;
        let mut reference = match data.source.clone() {
            Some(DataSource::Shapes(mut shapes)) => {
                shapes.frames = frames.or(window).unwrap_or(shapes.frames);
                check_size(&name, shapes.size, size)?;
                if data.clips < validation {
                    let reason = format!(
                        "data.validation is {validation}, above data.clips, which is {}",
                        data.clips
                    );
                    return Err(EvaluationError::data(&name, reason));
                }
                Self::shapes(name, data, shapes, options)?
            }
            Some(DataSource::Videos { path, config }) => {
                let path = path.ok_or_else(|| {
                    EvaluationError::data(
                        &name,
                        "[data.videos] needs data.path, a folder of videos",
                    )
                })?;
                check_size(&name, config.size, size)?;
                let config = VideoFolderConfig {
                    frames: frames.unwrap_or(config.frames),
                    ..config
                };
                Self::videos(name, data, &path, config, options, skipped)?
            }
            source => {
                let reason = match source {
                    Some(DataSource::MovingMnist(_)) => {
                        "data.moving_mnist is not supported for evaluation; use shapes or videos"
                    }
                    Some(DataSource::Latents(_)) => {
                        "data.latents has no pictures to measure against"
                    }
                    _ => "[data] must have exactly one of [data.shapes] and [data.videos]",
                };
                return Err(EvaluationError::data(&name, reason));
            }
        };
        let check_samples = |found: usize, of_class: &str| {
            if samples <= found {
                return Ok(());
            }
            let path = path.display();
            let reason = match options.split {
                ReferenceSplit::Validation => format!(
                    "is {samples}, and {path} has {found} validation clips{of_class}: ask for fewer, or \
                     raise data.validation, if the model was not trained on them"
                ),
                ReferenceSplit::Training => format!(
                    "is {samples}, and {path} has {found} training clips{of_class}: ask for fewer"
                ),
            };
            Err(EvaluationError::option("samples", reason))
        };
        check_samples(reference.order.len(), "")?;
        reference.number_classes(&model.conditioning, class)?;
        if let Some(class) = class.filter(|_| reference.has_labels()) {
            reference.keep_class(class);
            check_samples(reference.order.len(), &format!(" of class {class}"))?;
        }
        Ok(reference)
    }

    fn shapes(
        name: String,
        data: DataConfig,
        config: ShapesConfig,
        options: &EvaluationOptions,
    ) -> Result<Self, EvaluationError> {
        let world = ShapesWorld::new(config)?;
        let config = world.config().clone();
        let dataset = ShapesDataset::new(world, data.clips, data.first_seed);
        let split = Split::new(data.clips, data.validation, |index| {
            dataset.source_id(index)
        });
        let order = order(split, options);
        Ok(Self {
            name,
            config: DataConfig {
                source: Some(DataSource::Shapes(config.clone())),
                ..data.without_reading()
            },
            fingerprint: None,
            frames: config.frames,
            shapes: Some(config),
            class_names: dataset.world().label_names(),
            labels: order.iter().map(|&index| dataset.label(index)).collect(),
            order,
            clips: Box::new(dataset),
        })
    }

    fn videos(
        name: String,
        data: DataConfig,
        path: &Path,
        config: VideoFolderConfig,
        options: &EvaluationOptions,
        skipped: impl Fn(&SkippedFile),
    ) -> Result<Self, EvaluationError> {
        let labels = match &data.labels {
            Some(Labels::Csv(table)) => Some(table.as_path()),
            _ => None,
        };
        let list = data.list.as_ref().and_then(VideoList::file);
        for input in [Some(path), labels, list].into_iter().flatten() {
            check_input(&options.out, "data", input)?;
        }
        let selection = Selection {
            labels: data.labels.as_ref(),
            list: data.list.as_ref(),
        };
        let clips = open_folder(path, config, selection, data.workers, skipped)?;
        if data.validation > clips.len() {
            let reason = format!(
                "data.validation is {}, and there are {} clips",
                data.validation,
                clips.len()
            );
            return Err(EvaluationError::data(&name, reason));
        }
        let mut fingerprint = fingerprint(path, &clips)?;
        if let Some(table) = labels {
            fingerprint = fingerprint
                .and_file(table)
                .map_err(EvaluationError::read(table))?;
        }
        let split = Split::new(clips.len(), data.validation, |index| clips.source_id(index));
        let order = order(split, options);
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
            class_names: clips.class_names().to_vec(),
            labels: order.iter().map(|&index| clips.label(index)).collect(),
            order,
            clips: Box::new(clips),
            shapes: None,
        })
    }

    /// Gives the clips the numbers that their classes have in the model. The data may have fewer classes, in another
    /// order.
    ///
    /// # Errors
    /// If the model does not know a class, unless only the clips of `class` are used.
    fn number_classes(
        &mut self,
        model: &ConditioningConfig,
        class: Option<usize>,
    ) -> Result<(), EvaluationError> {
        let Some(labels) = self.labels.as_mut().filter(|_| model.classes > 0) else {
            return Ok(());
        };
        let names = &self.class_names;
        if model.class_names.is_empty() {
            if names.len() == model.classes || class.is_some() {
                return Ok(());
            }
            let reason = format!(
                "the data have {} classes and the model has {}, without names: choose data with its classes, or one \
                 class with --class",
                names.len(),
                model.classes
            );
            return Err(EvaluationError::data(&self.name, reason));
        }
        let number = |label: usize| {
            let name = names.get(label);
            model
                .class_names
                .iter()
                .position(|known| Some(known) == name)
        };
        for label in labels {
            *label = match number(*label) {
                Some(number) => number,
                // None of those that are kept.
                None if class.is_some() => usize::MAX,
                None => {
                    let reason = format!(
                        "the model has no class {:?}: leave it out with data.list, or choose one class with --class",
                        names.get(*label).map_or("", String::as_str)
                    );
                    return Err(EvaluationError::data(&self.name, reason));
                }
            };
        }
        Ok(())
    }

    /// Leaves out the clips of other classes.
    fn keep_class(&mut self, class: usize) {
        if let Some(labels) = &mut self.labels {
            let mut of_clips = labels.iter();
            self.order.retain(|_| of_clips.next() == Some(&class));
            labels.retain(|&label| label == class);
        }
    }

    /// Whether clips show a world of shapes.
    pub(crate) fn is_world(&self) -> bool {
        self.shapes.is_some()
    }

    /// Whether clips have labels.
    pub(crate) fn has_labels(&self) -> bool {
        self.labels.is_some()
    }

    /// The physics of the data, if they are a world of shapes; for clips of a class, if one is given and clips have
    /// labels.
    pub(crate) fn world(&self, class: Option<usize>) -> Option<World> {
        let config = self.shapes.as_ref()?;
        let mut world = world_of(config);
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

    /// The frames of a clip.
    pub(crate) fn clip(&self, index: usize) -> Result<Vec<Frame>, EvaluationError> {
        let item = self.clips.get(self.order[index]);
        let item = item.map_err(|source| EvaluationError::Clip {
            clip: index,
            data: self.name.clone(),
            source,
        })?;
        Ok(item.clip.into_frames())
    }

    /// The class of a clip, if it has one.
    pub(crate) fn label(&self, index: usize) -> Option<usize> {
        Some(self.labels.as_ref()?[index])
    }
}

/// Whether a configuration says how many clips are for validation.
fn sets_validation(text: &str) -> bool {
    let table = toml::from_str::<toml::Table>(text).unwrap_or_default();
    let data = table.get("data").and_then(toml::Value::as_table);
    data.is_some_and(|data| {
        ["validation", "held_out"]
            .iter()
            .any(|key| data.contains_key(*key))
    })
}

/// The clips that are used, in order.
fn order(split: Split, options: &EvaluationOptions) -> Vec<usize> {
    match options.split {
        ReferenceSplit::Validation => split.validation,
        ReferenceSplit::Training if split.training.is_empty() => Vec::new(),
        ReferenceSplit::Training => {
            let order = EpochShuffle::new(split.training.len(), options.seed);
            let positions = 0..split.training.len() as u64;
            positions
                .map(|position| split.training[order.index(position)])
                .collect()
        }
    }
}

/// The clips of a folder of videos. `skipped` gets the videos that are left out.
pub(crate) fn open_folder(
    path: &Path,
    config: VideoFolderConfig,
    selection: Selection<'_>,
    workers: usize,
    skipped: impl Fn(&SkippedFile),
) -> Result<VideoFolder, EvaluationError> {
    let folder = VideoFolder::open(path, config, selection, workers, |_, _| {})?;
    folder.skipped().iter().for_each(skipped);
    Ok(folder)
}

/// Content hash of the videos of a folder, over their names and contents.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn fingerprint(
    root: &Path,
    videos: &VideoFolder,
) -> Result<ContentHash, EvaluationError> {
    let mut fingerprint = ContentHash::EMPTY;
    for (path, _) in videos.videos() {
        for file in files(path).map_err(EvaluationError::read(path))? {
            let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy();
            fingerprint = fingerprint
                .and(name.as_bytes())
                .and_file(&file)
                .map_err(EvaluationError::read(&file))?;
        }
    }
    Ok(fingerprint)
}

/// The files of a video: itself, or the images in the folder.
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

fn check_size(name: &str, data: usize, model: usize) -> Result<(), EvaluationError> {
    if data == model {
        return Ok(());
    }
    let reason =
        format!("the data have size {data}, and the model makes frames of {model}x{model}");
    Err(EvaluationError::data(name, reason))
}

/// The physics of a world of shapes.
fn world_of(config: &ShapesConfig) -> World {
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

    /// The lower bound of every figure: the measures of rendered ground truth.
    #[test]
    fn ground_truth_is_lawful() {
        let config = ShapesConfig::default();
        let world = world_of(&config);
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

    #[test]
    fn classes_have_the_numbers_of_the_model() {
        let data = DataConfig {
            clips: 40,
            ..DataConfig::default()
        };
        let config = ShapesConfig {
            labels: LabelMode::Count,
            ..ShapesConfig::default()
        };
        let numbered = |names: &[&str], classes, class| {
            let options = EvaluationOptions::default();
            let (data, config) = (data.clone(), config.clone());
            let mut reference = Reference::shapes("d".into(), data, config, &options).unwrap();
            let model = ConditioningConfig {
                classes,
                class_names: names.iter().map(|&name| name.to_owned()).collect(),
                ..ConditioningConfig::default()
            };
            let before = reference.labels.clone().unwrap();
            reference.number_classes(&model, class)?;
            Ok::<_, EvaluationError>((before, reference.labels.unwrap()))
        };
        let names = ShapesWorld::new(config.clone()).unwrap().label_names();
        let [one, two, three] = [0, 1, 2].map(|label: usize| names[label].as_str());
        // Another order, and a class that the data do not have.
        let (before, after) = numbered(&["none", three, two, one], 4, None).unwrap();
        assert_eq!(
            after,
            before.iter().map(|label| 3 - label).collect::<Vec<_>>()
        );
        let (before, after) = numbered(&[], 3, None).unwrap();
        assert_eq!(after, before);
        let error = numbered(&[], 4, None).unwrap_err().to_string();
        assert!(error.contains("3 classes and the model has 4"), "{error}");
        let error = numbered(&[three, two], 2, None).unwrap_err().to_string();
        assert!(
            error.contains(&format!("the model has no class {one:?}")),
            "{error}"
        );
        let (before, after) = numbered(&[three, two], 2, Some(0)).unwrap();
        let kept = |labels: &[usize], class| labels.iter().filter(|&&l| l == class).count();
        assert_eq!(kept(&after, 0), kept(&before, 2));
    }
}
