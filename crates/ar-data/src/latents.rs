//! Latents of many clips, encoded beforehand.

mod index;
mod npy;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use index::LatentIndex;
pub use npy::NpyError;

use crate::held_out::Sources;
use crate::labels::{Labels, LabelsError, Selected};
use crate::skipped::{Skipped, list};

use burn_dataset::{Dataset, DatasetError};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

/// The latents of one clip.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentItem {
    /// `[frames, tokens, channels]`, flat.
    pub latents: Vec<f32>,
    /// `[frames, tokens, channels]`.
    pub shape: [usize; 3],
    /// The class, if the dataset has any.
    pub label: Option<usize>,
}

/// Latents of many clips, computed beforehand and kept in memory. (A clip of the published size
/// takes 8 KiB.)
///
/// A shard is a safetensors file with `latents` `[clips, frames, tokens, channels]` in `F32`,
/// `labels` `[clips]` in `I64` if there are classes, and `sources` `[clips]` in `U64`, numbers of the
/// videos that clips come from, if they are known. A folder of shards has a [`LatentIndex`].
#[derive(Clone, Debug, PartialEq)]
pub struct LatentDataset {
    latents: Vec<f32>,
    shape: [usize; 4],
    labels: Option<Vec<usize>>,
    /// Of each clip, if they are known: see [`Sources`].
    sources: Option<Vec<u64>>,
    classes: Vec<String>,
    skipped: Vec<Skipped>,
}

/// Latents that make no dataset, or a file of them that does not read or
/// write.
#[derive(Debug, thiserror::Error)]
pub enum LatentError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SafeTensorError,
    },
    /// The file is something else or damaged.
    #[error("{path} is not a safetensors file, or is damaged: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SafeTensorError,
    },
    /// The file is in order, but its content is not.
    #[error("{path}: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<LatentError>,
    },
    /// A file without latents.
    #[error("there is no tensor `latents`; the file has {0}")]
    Missing(String),
    /// A tensor that has no place in a file of latents.
    #[error(
        "the tensor `{0}` has no place in a file of latents; it has `latents` and maybe `labels` and \
         `sources`"
    )]
    Unexpected(String),
    /// A tensor of another type.
    #[error("`{tensor}` has the type {actual}, but has to be {expected}")]
    Type {
        /// The tensor.
        tensor: &'static str,
        /// Its type.
        actual: Dtype,
        /// The type that it has to have.
        expected: Dtype,
    },
    /// A tensor of another shape.
    #[error("`{tensor}` has the shape {actual:?}, but has to be {expected}")]
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// Its shape.
        actual: Vec<usize>,
        /// The shape that it has to have.
        expected: String,
    },
    /// The index of a folder says nonsense.
    #[error("{path}: {message}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Not all shards have been written.
    #[error(
        "{missing} of the {shards} shards of {folder} are missing, the first is {first}; \
         `ar-train latents --resume` writes them"
    )]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// Shards that are missing.
        missing: usize,
        /// Shards in all.
        shards: usize,
        /// Name of the first one that is missing.
        first: String,
    },
    /// A file does not go with those before it.
    #[error("{path} {what} and the files before it {others}; those of a dataset are alike")]
    Unlike {
        /// The file.
        path: PathBuf,
        /// What it has.
        what: String,
        /// What the others have.
        others: String,
    },
    /// A folder without latents.
    #[error(
        "there are no latents in {0}: neither an index.json, as `ar-train latents` writes it, nor \
         .npy files, as the reference implementation does"
    )]
    Nothing(PathBuf),
    /// No `.npy` file of a folder reads.
    #[error("no .npy file in {root} has latents:{}", list(skipped))]
    NothingUsable {
        /// Where files were looked for.
        root: PathBuf,
        /// All of them.
        skipped: Vec<Skipped>,
    },
    /// The classes of `.npy` files cannot be told.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// Labels are given for latents that bring their own.
    #[error("{0}: labels are for folders of .npy files; these latents were encoded with theirs")]
    OwnLabels(PathBuf),
    /// Fewer or more values than the shape says.
    #[error("{actual} values do not fill latents of the shape {shape:?}")]
    Values {
        /// Number of values.
        actual: usize,
        /// `[clips, frames, tokens, channels]`.
        shape: [usize; 4],
    },
    /// NaN or infinity.
    #[error("the latents of clip {clip} contain {value}; encode it again")]
    NotFinite {
        /// The first clip of that kind.
        clip: usize,
        /// The value.
        value: f32,
    },
    /// A class below zero.
    #[error("clip {clip} has the label {label}; labels count from 0")]
    Label {
        /// The first clip of that kind.
        clip: usize,
        /// Its label.
        label: i64,
    },
}

impl LatentError {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        |source| Self::Read { path, source }
    }
}

impl LatentDataset {
    /// Latents of the shape `[clips, frames, tokens, channels]` and one label
    /// per clip or none at all.
    ///
    /// # Errors
    /// If the number of values or labels does not fit the shape, the shape has
    /// a zero in it, or a value is not finite.
    pub fn new(
        latents: Vec<f32>,
        shape: [usize; 4],
        labels: Option<Vec<usize>>,
    ) -> Result<Self, LatentError> {
        if shape.contains(&0) {
            return Err(LatentError::Shape {
                tensor: "latents",
                actual: shape.to_vec(),
                expected: "[clips, frames, tokens, channels] without a zero".to_string(),
            });
        }
        let values = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if values != Some(latents.len()) {
            return Err(LatentError::Values {
                actual: latents.len(),
                shape,
            });
        }
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != shape[0]) {
            return Err(LatentError::Shape {
                tensor: "labels",
                actual: vec![labels.len()],
                expected: format!("[{}], one for each clip", shape[0]),
            });
        }
        if let Some(index) = latents.iter().position(|x| !x.is_finite()) {
            let clip = index / (latents.len() / shape[0]);
            return Err(LatentError::NotFinite {
                clip,
                value: latents[index],
            });
        }
        Ok(Self {
            latents,
            shape,
            labels,
            sources: None,
            classes: Vec::new(),
            skipped: Vec::new(),
        })
    }

    /// With the videos that the clips come from, one number a clip; see [`Sources`].
    ///
    /// # Errors
    /// If there are not as many as clips.
    pub fn with_sources(self, sources: Vec<u64>) -> Result<Self, LatentError> {
        let clips = self.shape[0];
        if sources.len() != clips {
            return Err(LatentError::Shape {
                tensor: "sources",
                actual: vec![sources.len()],
                expected: format!("[{clips}], one for each clip"),
            });
        }
        Ok(Self {
            sources: Some(sources),
            ..self
        })
    }

    /// `[clips, frames, tokens, channels]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// One class per clip, if there are any.
    pub fn labels(&self) -> Option<&[usize]> {
        self.labels.as_deref()
    }

    /// Names of the classes in the order of the labels; empty where they are not known.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// Files that were left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Writes a shard; one that was there is replaced at the end.
    ///
    /// # Errors
    /// If the folder cannot be made or written to.
    pub fn save(&self, path: &Path) -> Result<(), LatentError> {
        let error = |source| LatentError::Write {
            path: path.to_path_buf(),
            source,
        };
        let latents: Vec<u8> = self.latents.iter().flat_map(|x| x.to_le_bytes()).collect();
        let labels: Option<Vec<u8>> = self.labels.as_ref().map(|labels| {
            labels
                .iter()
                .flat_map(|&x| (x as i64).to_le_bytes())
                .collect()
        });

        let sources: Option<Vec<u8>> = self
            .sources
            .as_ref()
            .map(|sources| sources.iter().flat_map(|&x| x.to_le_bytes()).collect());

        let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes);
        let mut tensors = vec![(
            "latents",
            view(Dtype::F32, &self.shape, &latents).map_err(error)?,
        )];
        if let Some(labels) = &labels {
            tensors.push((
                "labels",
                view(Dtype::I64, &self.shape[..1], labels).map_err(error)?,
            ));
        }
        if let Some(sources) = &sources {
            tensors.push((
                "sources",
                view(Dtype::U64, &self.shape[..1], sources).map_err(error)?,
            ));
        }
        let file = safetensors::serialize(tensors, None).map_err(error)?;
        ar_files::write_atomically(path, &file).map_err(|e| error(e.into()))
    }

    /// Reads a folder of shards, one shard, or a folder of `.npy` files of the reference
    /// implementation: in and below it one a clip, the unnormalised posterior mean
    /// `[frames, channels, 1, tokens]`, which is put on the unit sphere token by token. `labels`
    /// are for the latter. Files of it that do not read are left out and listed in
    /// [`Self::skipped`].
    ///
    /// # Errors
    /// If there is nothing of the kind, a shard is missing, damaged, or holds other tensors than
    /// [`LatentDataset`] says, or files do not go together.
    pub fn load(path: &Path, labels: Option<&Labels>) -> Result<Self, LatentError> {
        if path.is_dir() && !LatentIndex::path(path).exists() {
            return Self::load_npy(path, labels);
        }
        if labels.is_some() {
            return Err(LatentError::OwnLabels(path.to_path_buf()));
        }
        match LatentIndex::load(path)? {
            Some(index) => Self::load_shards(path, index),
            None => Self::load_shard(path),
        }
    }

    fn load_shards(folder: &Path, index: LatentIndex) -> Result<Self, LatentError> {
        let shards: Vec<_> = (0..index.shards())
            .map(|shard| index.shard_path(folder, shard))
            .collect();
        let missing: Vec<_> = shards.iter().filter(|path| !path.is_file()).collect();
        if let Some(first) = missing.first() {
            let name = first.file_name().unwrap_or_default();
            return Err(LatentError::Incomplete {
                folder: folder.to_path_buf(),
                missing: missing.len(),
                shards: shards.len(),
                first: name.to_string_lossy().into_owned(),
            });
        }
        let mut all: Option<Self> = None;
        for path in shards {
            let shard = Self::load_shard(&path)?;
            match &mut all {
                Some(all) => all.append(shard, &path)?,
                None => all = Some(shard),
            }
        }
        let all = all.expect("an index has at least one shard");
        Ok(Self {
            classes: index.classes,
            ..all
        })
    }

    /// Adds the clips of the file at `path`.
    fn append(&mut self, other: Self, path: &Path) -> Result<(), LatentError> {
        let describe = |dataset: &Self| {
            let [_, frames, tokens, channels] = dataset.shape;
            let labels = match dataset.labels {
                Some(_) => "has labels",
                None => "has no labels",
            };
            format!("has clips of {frames} x {tokens} x {channels} and {labels}")
        };
        let (what, others) = (describe(&other), describe(self));
        if what != others {
            return Err(LatentError::Unlike {
                path: path.to_path_buf(),
                what,
                others,
            });
        }
        self.shape[0] += other.shape[0];
        self.latents.extend(other.latents);
        if let (Some(labels), Some(others)) = (&mut self.labels, other.labels) {
            labels.extend(others);
        }
        // Older shards do not know theirs.
        self.sources = match (self.sources.take(), other.sources) {
            (Some(sources), Some(others)) => Some([sources, others].concat()),
            _ => None,
        };
        Ok(())
    }

    fn load_npy(folder: &Path, labels: Option<&Labels>) -> Result<Self, LatentError> {
        let paths = npy::find(folder).map_err(LatentError::read(folder))?;
        if paths.is_empty() {
            return Err(LatentError::Nothing(folder.to_path_buf()));
        }
        let mut skipped = Vec::new();
        let Selected { classes, files } = Labels::select(labels, folder, paths, &mut skipped)?;
        let mut all: Option<Self> = None;
        for (path, label) in files {
            let item = match npy::read(&path) {
                Ok(item) => item,
                Err(error) => {
                    let reason = error.to_string();
                    skipped.push(Skipped { path, reason });
                    continue;
                }
            };
            let [frames, tokens, channels] = item.shape;
            let shape = [1, frames, tokens, channels];
            let clip = Self::new(item.latents, shape, label.map(|label| vec![label]))?;
            match &mut all {
                Some(all) => all.append(clip, &path)?,
                None => all = Some(clip),
            }
        }
        match all {
            Some(all) => Ok(Self {
                classes,
                skipped,
                ..all
            }),
            None => Err(LatentError::NothingUsable {
                root: folder.to_path_buf(),
                skipped,
            }),
        }
    }

    fn load_shard(path: &Path) -> Result<Self, LatentError> {
        let path_buf = || path.to_path_buf();
        let bytes = fs::read(path).map_err(LatentError::read(path))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|source| LatentError::Format {
            path: path_buf(),
            source,
        })?;
        Self::from_tensors(&tensors).map_err(|source| LatentError::Content {
            path: path_buf(),
            source: Box::new(source),
        })
    }

    fn from_tensors(tensors: &SafeTensors<'_>) -> Result<Self, LatentError> {
        let mut names = tensors.names();
        names.sort_unstable();
        let Ok(latents) = tensors.tensor("latents") else {
            let list = if names.is_empty() {
                "none".to_string()
            } else {
                names.join(", ")
            };
            return Err(LatentError::Missing(list));
        };
        if let Some(other) = names
            .iter()
            .find(|name| !["latents", "labels", "sources"].contains(name))
        {
            return Err(LatentError::Unexpected(other.to_string()));
        }

        expect_type("latents", &latents, Dtype::F32)?;
        let shape = latents.shape().try_into().map_err(|_| LatentError::Shape {
            tensor: "latents",
            actual: latents.shape().to_vec(),
            expected: "[clips, frames, tokens, channels]".to_string(),
        })?;
        let values = latents
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));

        let labels = match tensors.tensor("labels") {
            Ok(labels) => Some(read_labels(&labels, shape)?),
            Err(_) => None,
        };
        let dataset = Self::new(values.collect(), shape, labels)?;
        match tensors.tensor("sources") {
            Ok(sources) => {
                expect_type("sources", &sources, Dtype::U64)?;
                let values = sources.data().as_chunks::<8>().0.iter();
                dataset.with_sources(values.map(|b| u64::from_le_bytes(*b)).collect())
            }
            Err(_) => Ok(dataset),
        }
    }
}

fn read_labels(labels: &TensorView<'_>, shape: [usize; 4]) -> Result<Vec<usize>, LatentError> {
    expect_type("labels", labels, Dtype::I64)?;
    if labels.shape() != &shape[..1] {
        return Err(LatentError::Shape {
            tensor: "labels",
            actual: labels.shape().to_vec(),
            expected: format!("[{}], one for each clip", shape[0]),
        });
    }
    let values = labels
        .data()
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b));
    values
        .enumerate()
        .map(|(clip, label)| usize::try_from(label).map_err(|_| LatentError::Label { clip, label }))
        .collect()
}

fn expect_type(
    tensor: &'static str,
    view: &TensorView<'_>,
    expected: Dtype,
) -> Result<(), LatentError> {
    if view.dtype() == expected {
        return Ok(());
    }
    Err(LatentError::Type {
        tensor,
        actual: view.dtype(),
        expected,
    })
}

impl Sources for LatentDataset {
    fn source(&self, index: usize) -> u64 {
        match &self.sources {
            Some(sources) => sources[index],
            None => index as u64,
        }
    }
}

impl Dataset<LatentItem> for LatentDataset {
    fn get(&self, index: usize) -> Result<LatentItem, DatasetError> {
        let [clips, frames, tokens, channels] = self.shape;
        assert!(index < clips, "item {index} of {clips}");
        let values = frames * tokens * channels;
        Ok(LatentItem {
            latents: self.latents[index * values..][..values].to_vec(),
            shape: [frames, tokens, channels],
            label: self.labels.as_ref().map(|labels| labels[index]),
        })
    }

    fn len(&self) -> usize {
        self.shape[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(labels: Option<Vec<usize>>) -> LatentDataset {
        let values = (0..2 * 3 * 4 * 5).map(|i| (i as f32).sin()).collect();
        LatentDataset::new(values, [2, 3, 4, 5], labels).unwrap()
    }

    #[test]
    fn items() {
        let dataset = dataset(Some(vec![7, 0]));
        assert_eq!(dataset.len(), 2);
        let item = dataset.get(1).unwrap();
        assert_eq!(item.shape, [3, 4, 5]);
        assert_eq!(item.label, Some(0));
        assert_eq!(item.latents.len(), 60);
        assert_eq!(item.latents[3], 63_f32.sin());
    }

    #[test]
    fn a_saved_dataset_loads_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.safetensors");
        for labels in [None, Some(vec![7, 0])] {
            let dataset = dataset(labels);
            dataset.save(&path).unwrap();
            assert_eq!(LatentDataset::load(&path, None).unwrap(), dataset);
            let dataset = dataset.with_sources(vec![u64::MAX, 3]).unwrap();
            dataset.save(&path).unwrap();
            let loaded = LatentDataset::load(&path, None).unwrap();
            assert_eq!(loaded, dataset);
            assert_eq!([loaded.source(0), loaded.source(1)], [u64::MAX, 3]);
        }
    }

    /// Writes a folder of shards of one clip each.
    fn write_shards(folder: &Path, shards: &[LatentDataset]) -> LatentIndex {
        let index = LatentIndex {
            clips: shards.len() * 2,
            clips_per_shard: 2,
            classes: vec!["run".to_string(), "walk".to_string()],
            source: Vec::new(),
        };
        index.save(folder).unwrap();
        for (number, shard) in shards.iter().enumerate() {
            shard.save(&index.shard_path(folder, number)).unwrap();
        }
        index
    }

    #[test]
    fn shards_are_one_dataset() {
        let folder = tempfile::tempdir().unwrap();
        let shards = [dataset(Some(vec![1, 0])), dataset(Some(vec![0, 0]))]
            .map(|shard| shard.with_sources(vec![8, 9]).unwrap());
        let index = write_shards(folder.path(), &shards);
        let all = LatentDataset::load(folder.path(), None).unwrap();
        assert_eq!(all.shape(), [4, 3, 4, 5]);
        assert_eq!(all.class_names(), ["run", "walk"]);
        for clip in 0..4 {
            let expected = shards[clip / 2].get(clip % 2).unwrap();
            assert_eq!(all.get(clip).unwrap(), expected);
            assert_eq!(all.source(clip), 8 + clip as u64 % 2);
        }

        let second = index.shard_path(folder.path(), 1);
        let error = || {
            let error = LatentDataset::load(folder.path(), None).unwrap_err();
            error.to_string()
        };
        dataset(None).save(&second).unwrap();
        assert!(
            error().contains("has no labels and the files before it"),
            "{}",
            error()
        );
        fs::remove_file(&second).unwrap();
        assert!(
            error().contains("the first is shard-00001-of-00002.safetensors"),
            "{}",
            error()
        );
    }

    #[test]
    fn files_of_the_reference_are_a_dataset() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let load = |labels: Option<&Labels>| LatentDataset::load(folder.path(), labels);
        let error = load(None).unwrap_err().to_string();
        assert!(error.starts_with("there are no latents in "), "{error}");

        write("walk/b.npy", b"broken");
        let error = load(None).unwrap_err().to_string();
        assert!(
            error.ends_with("b.npy: not an NPY file, or damaged"),
            "{error}"
        );
        let clip = |x: f32| npy::tests::npy("<f4", "(1, 1, 1, 1)", &x.to_le_bytes());
        write("walk/a.npy", &clip(2.0));
        write("run/z.npy", &clip(-3.0));
        write("run/z.txt", b"");
        let dataset = load(Some(&Labels::Folders)).unwrap();
        assert_eq!(dataset.shape(), [2, 1, 1, 1]);
        assert_eq!(dataset.class_names(), ["run", "walk"]);
        assert_eq!(dataset.labels(), Some(&[0, 1][..]));
        assert_eq!(dataset.get(0).unwrap().latents, [-1.0]);
        assert_eq!(dataset.get(1).unwrap().latents, [1.0]);
        assert_eq!(dataset.skipped().len(), 1);
        assert_eq!(load(None).unwrap().labels(), None);

        write(
            "walk/c.npy",
            &npy::tests::npy("<f4", "(2, 1, 1, 1)", &[0; 8]),
        );
        let error = load(None).unwrap_err().to_string();
        assert!(error.contains("c.npy has clips of 2 x 1 x 1"), "{error}");
    }

    #[test]
    fn new_refuses_what_does_not_fit() {
        let error = |values: Vec<f32>, shape, labels| {
            LatentDataset::new(values, shape, labels)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(vec![0.0; 7], [2, 2, 2, 1], None),
            "7 values do not fill latents of the shape [2, 2, 2, 1]"
        );
        assert_eq!(
            error(vec![], [0, 2, 2, 1], None),
            "`latents` has the shape [0, 2, 2, 1], but has to be \
             [clips, frames, tokens, channels] without a zero"
        );
        assert_eq!(
            error(vec![], [usize::MAX, 2, 2, 1], None),
            format!(
                "0 values do not fill latents of the shape [{}, 2, 2, 1]",
                usize::MAX
            )
        );
        assert_eq!(
            error(vec![0.0; 8], [2, 2, 2, 1], Some(vec![1])),
            "`labels` has the shape [1], but has to be [2], one for each clip"
        );
        let mut values = vec![0.0; 8];
        values[5] = f32::NAN;
        assert_eq!(
            error(values, [2, 2, 2, 1], None),
            "the latents of clip 1 contain NaN; encode it again"
        );
    }

    /// Loads a file of the given tensors and returns the message without the
    /// path.
    fn load_error(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (
                *name,
                TensorView::new(*dtype, shape.to_vec(), bytes).unwrap(),
            )
        });
        safetensors::serialize_to_file(views, None, &path).unwrap();
        let message = LatentDataset::load(&path, None).unwrap_err().to_string();
        message
            .strip_prefix(&format!("{}: ", path.display()))
            .unwrap()
            .to_string()
    }

    #[test]
    fn load_refuses_other_tensors() {
        let good = ("latents", Dtype::F32, &[1, 1, 2, 1][..], vec![0; 8]);
        assert_eq!(
            load_error(&[
                ("a", Dtype::F32, &[1], vec![0; 4]),
                ("b", Dtype::F32, &[1], vec![0; 4])
            ]),
            "there is no tensor `latents`; the file has a, b"
        );
        assert_eq!(
            load_error(&[good.clone(), ("mean", Dtype::F32, &[1], vec![0; 4])]),
            "the tensor `mean` has no place in a file of latents; \
             it has `latents` and maybe `labels` and \
             `sources`"
        );
        assert_eq!(
            load_error(&[("latents", Dtype::F16, &[1, 1, 2, 1], vec![0; 4])]),
            "`latents` has the type F16, but has to be F32"
        );
        assert_eq!(
            load_error(&[("latents", Dtype::F32, &[1, 2, 1], vec![0; 8])]),
            "`latents` has the shape [1, 2, 1], but has to be [clips, frames, tokens, channels]"
        );
        assert_eq!(
            load_error(&[good.clone(), ("labels", Dtype::I64, &[2], vec![0; 16])]),
            "`labels` has the shape [2], but has to be [1], one for each clip"
        );
        assert_eq!(
            load_error(&[good.clone(), ("labels", Dtype::F32, &[1], vec![0; 4])]),
            "`labels` has the type F32, but has to be I64"
        );
        assert_eq!(
            load_error(&[good.clone(), ("sources", Dtype::U64, &[2], vec![0; 16])]),
            "`sources` has the shape [2], but has to be [1], one for each clip"
        );
        assert_eq!(
            load_error(&[good, ("labels", Dtype::I64, &[1], vec![255; 8])]),
            "clip 0 has the label -1; labels count from 0"
        );
        let infinite = f32::NEG_INFINITY.to_le_bytes().to_vec();
        assert_eq!(
            load_error(&[("latents", Dtype::F32, &[1, 1, 1, 1], infinite)]),
            "the latents of clip 0 contain -inf; encode it again"
        );
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.safetensors");
        let error = || LatentDataset::load(&path, None).unwrap_err().to_string();
        assert!(error().starts_with("cannot read "), "{}", error());

        dataset(Some(vec![1, 2])).save(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for end in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(
                error().contains("is not a safetensors file, or is damaged"),
                "{}",
                error()
            );
        }

        let below_a_file = path.join("latents.safetensors");
        let error = dataset(None).save(&below_a_file).unwrap_err().to_string();
        assert!(error.starts_with("cannot write "), "{error}");
    }
}
