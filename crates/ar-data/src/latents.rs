//! Latents of many clips, encoded in advance.

mod error;
mod index;
mod npy;
mod reference;
mod shards;

use std::path::Path;

pub use error::LatentError;
pub use index::LatentIndex;
#[cfg(test)]
pub(crate) use index::NOT_OF_LATENTS;
pub use npy::NpyError;

use crate::labels::Labels;
use crate::skipped::SkippedFile;
use crate::split::SourceIds;

use ar_weights::Fault;
use burn_dataset::{Dataset, DatasetError};

/// The latents of one clip.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentItem {
    /// `[frames, tokens, channels]`, flattened.
    pub latents: Vec<f32>,
    /// `[frames, tokens, channels]`.
    pub shape: [usize; 3],
    /// The class, if the dataset has any.
    pub label: Option<usize>,
}

/// Latents of many clips, encoded in advance and kept in memory. (A clip of the published size takes 8 KiB.)
///
/// A shard is a safetensors file with `latents` `[clips, frames, tokens, channels]` in `F32`, `labels` `[clips]` in
/// `I64` if there are classes, and `sources` `[clips]` in `U64`, the ids of the videos that clips come from, if they
/// are known. A folder of shards has a [`LatentIndex`].
#[derive(Clone, Debug, PartialEq)]
pub struct LatentDataset {
    latents: Vec<f32>,
    shape: [usize; 4],
    labels: Option<Vec<usize>>,
    /// The video of each clip, if known: see [`SourceIds`].
    sources: Option<Vec<u64>>,
    classes: Vec<String>,
    skipped: Vec<SkippedFile>,
    made_of: Vec<String>,
    unverified: usize,
    is_identified: bool,
}

impl LatentDataset {
    /// Latents of the shape `[clips, frames, tokens, channels]` and one label
    /// per clip or none at all.
    ///
    /// # Errors
    /// If the number of values or labels does not fit the shape, the shape has
    /// a zero in it, or a value is broken ([`Fault`]).
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
        let mut faults = latents.iter().map(|&value| Fault::of_value(value));
        if let Some((index, fault)) = faults.by_ref().enumerate().find_map(|(i, f)| Some((i, f?))) {
            let clip = index / (latents.len() / shape[0]);
            return Err(LatentError::Broken { clip, fault });
        }
        Ok(Self {
            latents,
            shape,
            labels,
            sources: None,
            classes: Vec::new(),
            skipped: Vec::new(),
            made_of: Vec::new(),
            unverified: 0,
            is_identified: true,
        })
    }

    /// Adds the videos that the clips come from, one number per clip; see [`SourceIds`].
    ///
    /// # Errors
    /// If their number is not the number of clips.
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

    /// What the latents were made from and with, line by line, from their [`LatentIndex`].
    pub fn made_of(&self) -> &[String] {
        &self.made_of
    }

    /// Number of shards without a checksum, which an older version wrote.
    pub fn unverified(&self) -> usize {
        self.unverified
    }

    /// Whether it was checked that all shards belong to their index; an index of an older version does not say which do.
    pub fn is_identified(&self) -> bool {
        self.is_identified
    }

    /// Files that were left out.
    pub fn skipped(&self) -> &[SkippedFile] {
        &self.skipped
    }

    /// Reads a folder of shards, one shard, or a folder of `.npy` files of the reference
    /// implementation. Each file in or below such a folder is a clip, the unnormalised posterior
    /// mean `[frames, channels, 1, tokens]`, which is put on the unit sphere token by token.
    /// `labels` are only for these. Damaged ones are left out and listed in [`Self::skipped`].
    ///
    /// # Errors
    /// If there is nothing of the kind, a shard is missing, damaged, or has other tensors than [`LatentDataset`]
    /// describes, files do not fit together, or a file cannot be read because of the environment
    /// ([`LatentError::is_environment`]).
    pub fn load(path: impl AsRef<Path>, labels: Option<&Labels>) -> Result<Self, LatentError> {
        let path = path.as_ref();
        if path.is_dir() && !LatentIndex::path(path).exists() {
            return Self::load_npy(path, labels);
        }
        if labels.is_some() {
            return Err(LatentError::OwnLabels(path.to_path_buf()));
        }
        match LatentIndex::load(path)? {
            Some(index) => Self::load_shards(path, index),
            None => Self::load_shard(path, None),
        }
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
        self.unverified += other.unverified;
        self.latents.extend(other.latents);
        if let (Some(labels), Some(others)) = (&mut self.labels, other.labels) {
            labels.extend(others);
        }
        // Older shards do not record theirs.
        self.sources = match (self.sources.take(), other.sources) {
            (Some(sources), Some(others)) => Some([sources, others].concat()),
            _ => None,
        };
        Ok(())
    }
}

impl SourceIds for LatentDataset {
    fn source_id(&self, index: usize) -> u64 {
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

    pub(super) fn dataset(labels: Option<Vec<usize>>) -> LatentDataset {
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
        for (value, what) in [
            (f32::NAN, "NaN or infinity"),
            (-3e38, "3e38, which is beyond 65504"),
        ] {
            let mut values = vec![0.0; 8];
            values[5] = value;
            assert_eq!(
                error(values, [2, 2, 2, 1], None),
                format!("the latents of clip 1 hold {what}; encode it again")
            );
        }
    }
}
