//! Latents as `ar-train latents` stores them: shards in safetensors, and folders of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ar_files::{Integrity, check_regular, verify_file, write_sealed};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{LatentDataset, LatentError, LatentIndex};

impl LatentDataset {
    /// Writes one file of latents, and its checksum beside it; an existing one is replaced at the end.
    ///
    /// # Errors
    /// If the folder cannot be created or written to.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), LatentError> {
        self.write(path.as_ref(), None)
    }

    /// [`save`](Self::save)s the shard `number` of the folder with `index`.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_shard(
        &self,
        folder: impl AsRef<Path>,
        index: &LatentIndex,
        number: usize,
    ) -> Result<(), LatentError> {
        // One entry, since the format does not order them, and shards are the same bytes each time.
        let belongs = index.identity().map(|index| {
            let this = format!("{number} of {index}");
            HashMap::from([(SHARD.to_owned(), this)])
        });
        self.write(&index.shard_path(folder, number), belongs)
    }

    fn write(
        &self,
        path: &Path,
        metadata: Option<HashMap<String, String>>,
    ) -> Result<(), LatentError> {
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
        let file = safetensors::serialize(tensors, metadata).map_err(error)?;
        write_sealed(path, &file).map_err(|e| error(e.into()))
    }

    pub(super) fn load_shards(folder: &Path, index: LatentIndex) -> Result<Self, LatentError> {
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
        for (number, path) in shards.into_iter().enumerate() {
            let shard = Self::load_shard(&path, Some((&index, number)))?;
            let (clips, most) = (shard.shape[0], index.clips_of(number).len());
            if clips > most {
                return Err(LatentError::TooManyClips { path, clips, most });
            }
            match &mut all {
                Some(all) => all.append(shard, &path)?,
                None => all = Some(shard),
            }
        }
        let all = all.expect("an index has at least one shard");
        Ok(Self {
            is_identified: index.content.is_some(),
            classes: index.classes,
            made_of: index.source,
            ..all
        })
    }

    /// Reads the shard `number` of the folder with `index`.
    ///
    /// # Errors
    /// If it is damaged, has lost the checksum that the index says it has, or belongs to another index.
    pub fn load_shard_of(
        folder: impl AsRef<Path>,
        index: &LatentIndex,
        number: usize,
    ) -> Result<Self, LatentError> {
        Self::load_shard(&index.shard_path(folder, number), Some((index, number)))
    }

    /// Reads a file of latents: the shard of an index with this number, or any other, which may have no checksum.
    pub(super) fn load_shard(
        path: &Path,
        of: Option<(&LatentIndex, usize)>,
    ) -> Result<Self, LatentError> {
        let path_buf = || path.to_path_buf();
        let checked = check_regular(path).and_then(|()| verify_file(path));
        let integrity = checked.map_err(LatentError::read(path))?;
        if of.is_some_and(|(index, _)| index.checksums) && integrity == Integrity::Unknown {
            return Err(LatentError::NoChecksum { path: path_buf() });
        }
        let bytes = fs::read(path).map_err(LatentError::read(path))?;
        let format = |source| LatentError::Format {
            path: path_buf(),
            source,
        };
        let tensors = SafeTensors::deserialize(&bytes).map_err(format)?;
        if let Some((index, number)) = of {
            let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(format)?;
            check_belongs(metadata.metadata().as_ref(), index, number).map_err(|what| {
                LatentError::Foreign {
                    path: path_buf(),
                    what,
                }
            })?;
        }
        let shard = Self::from_tensors(&tensors).map_err(|source| LatentError::Content {
            path: path_buf(),
            source: Box::new(source),
        })?;
        Ok(Self {
            unverified: usize::from(integrity == Integrity::Unknown),
            ..shard
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

/// The key in a shard's metadata for its number and the identity of its index.
const SHARD: &str = "shard";

/// Fails unless a shard says that it is the shard `number` of `index`, if shards of that index do; says what it is
/// instead.
fn check_belongs(
    metadata: Option<&HashMap<String, String>>,
    index: &LatentIndex,
    number: usize,
) -> Result<(), String> {
    let Some(identity) = index.identity() else {
        return Ok(());
    };
    let said = metadata.and_then(|metadata| metadata.get(SHARD));
    match said.and_then(|said| said.split_once(" of ")) {
        Some((shard, of)) if of == identity && shard == number.to_string() => Ok(()),
        Some((shard, of)) if of == identity => {
            Err(format!("it is shard {shard} under another name"))
        }
        _ => Err("it is of other clips, or was made with another VAE".into()),
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

#[cfg(test)]
mod tests {
    use burn_dataset::Dataset;

    use super::super::tests::dataset;
    use super::*;
    use crate::split::SourceIds;

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
            assert_eq!([loaded.source_id(0), loaded.source_id(1)], [u64::MAX, 3]);
        }
    }

    /// Writes a folder of shards of one clip each.
    fn write_shards(folder: &Path, shards: &[LatentDataset]) -> LatentIndex {
        let index = LatentIndex {
            clips: shards.len() * 2,
            clips_per_shard: 2,
            classes: vec!["run".to_string(), "walk".to_string()],
            source: Vec::new(),
            checksums: true,
            content: Some("0123".to_string()),
        };
        index.save(folder).unwrap();
        for (number, shard) in shards.iter().enumerate() {
            shard.save_shard(folder, &index, number).unwrap();
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
            assert_eq!(all.source_id(clip), 8 + clip as u64 % 2);
        }

        // What has lost its checksum is no file of an older version.
        let second = index.shard_path(folder.path(), 1);
        for file in [second.clone(), LatentIndex::path(folder.path())] {
            let mut sum = file.clone().into_os_string();
            sum.push(".checksum");
            let whole = fs::read(&sum).unwrap();
            fs::remove_file(&sum).unwrap();
            let error = LatentDataset::load(folder.path(), None)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("is missing: the file may be damaged"),
                "{error}"
            );
            fs::write(&sum, whole).unwrap();
        }
        let error = || {
            let error = LatentDataset::load(folder.path(), None).unwrap_err();
            error.to_string()
        };
        let aside = folder.path().join("aside");
        fs::rename(&second, &aside).unwrap();
        fs::copy(index.shard_path(folder.path(), 0), &second).unwrap();
        assert!(error().contains("is not as it was written"), "{}", error());
        fs::rename(&aside, &second).unwrap();

        // Files with checksums of their own, which belong elsewhere.
        let [of_others, of_older] = [Some("4567".to_string()), None].map(|content| LatentIndex {
            content,
            ..index.clone()
        });
        for other in [of_others, of_older] {
            shards[1].save_shard(folder.path(), &other, 1).unwrap();
            let error = error();
            assert!(error.contains("does not belong to this folder"), "{error}");
            assert!(error.contains("it is of other clips"), "{error}");
        }
        shards[0].save_shard(folder.path(), &index, 0).unwrap();
        shards[1].save_shard(folder.path(), &index, 1).unwrap();
        let [first, second] = [0, 1].map(|number| index.shard_path(folder.path(), number));
        fs::copy(&first, &aside).unwrap();
        let bytes = fs::read(&second).unwrap();
        write_sealed(&first, &bytes).unwrap();
        assert!(
            error().contains("it is shard 1 under another name"),
            "{}",
            error()
        );
        fs::rename(&aside, &first).unwrap();
        write_sealed(&first, &fs::read(&first).unwrap()).unwrap();
        // An older version recorded nothing of that.
        let older = LatentIndex {
            content: None,
            ..index.clone()
        };
        older.save(folder.path()).unwrap();
        let all = LatentDataset::load(folder.path(), None).unwrap();
        assert!(!all.is_identified());
        index.save(folder.path()).unwrap();

        dataset(None).save_shard(folder.path(), &index, 1).unwrap();
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

    /// Loads a file with the given tensors and returns the message without the path.
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
            "the tensor `mean` does not belong in a file of latents, which has `latents` and maybe \
             `labels` and `sources`"
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
            "the latents of clip 0 hold NaN or infinity; encode it again"
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
        for bit in (0..8 * whole.len()).step_by(101) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert!(error().contains("is not as it was written"), "{}", error());
        }
        // An older version wrote no checksum.
        fs::remove_file(path.with_file_name("latents.safetensors.checksum")).unwrap();
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
