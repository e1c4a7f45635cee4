//! Errors of latents.

use std::io;
use std::path::{Path, PathBuf};

use ar_weights::Fault;
use safetensors::tensor::{Dtype, SafeTensorError};

use crate::labels::LabelsError;
use crate::skipped::{SkippedFile, list};

/// Latents that do not make a dataset, or a file of latents that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// The file is damaged, or not a file of latents.
    #[error("{path} is not a safetensors file, or is damaged: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SafeTensorError,
    },
    /// The file is intact, but its content is invalid.
    #[error("{path}: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<LatentError>,
    },
    /// A shard that belongs to another index.
    #[error("{} has {clips} clips, but at most {most} according to the index", path.display())]
    TooManyClips {
        /// The file.
        path: PathBuf,
        /// Clips in it.
        clips: usize,
        /// The most clips that it may have.
        most: usize,
    },
    /// A file without latents.
    #[error("there is no tensor `latents`; the file has {0}")]
    Missing(String),
    /// A tensor that does not belong in a file of latents.
    #[error(
        "the tensor `{0}` does not belong in a file of latents, which has `latents` and maybe \
         `labels` and `sources`"
    )]
    Unexpected(String),
    /// A tensor of another type.
    #[error("`{tensor}` has the type {actual}, but has to be {expected}")]
    Type {
        /// The tensor.
        tensor: &'static str,
        /// Its type.
        actual: Dtype,
        /// The expected type.
        expected: Dtype,
    },
    /// A tensor of another shape.
    #[error("`{tensor}` has the shape {actual:?}, but has to be {expected}")]
    Shape {
        /// The tensor.
        tensor: &'static str,
        /// Its shape.
        actual: Vec<usize>,
        /// The expected shape.
        expected: String,
    },
    /// The index of a folder is inconsistent.
    #[error("{path}: {message}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The checksum beside a file is lost.
    #[error(
        "{}: {}.checksum, which was written with it, is missing: the file may be damaged",
        path.display(),
        path.file_name().unwrap_or_default().display()
    )]
    NoChecksum {
        /// The file.
        path: PathBuf,
    },
    /// A shard of another folder, or another shard of the folder.
    #[error(
        "{} does not belong to this folder under this name: {what}; `ar-train latents --resume` \
         encodes its clips again",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// Not all shards have been written.
    #[error(
        "{missing} of the {shards} shards of {folder} are missing, the first is {first}; \
         `ar-train latents --resume` writes them"
    )]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// Number of missing shards.
        missing: usize,
        /// Number of all shards.
        shards: usize,
        /// Name of the first missing one.
        first: String,
    },
    /// A file does not match the files before it.
    #[error("{path} {what} and the files before it {others}; all files of a dataset must be alike")]
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
    /// No `.npy` file of a folder can be read.
    #[error("no .npy file in {root} has latents: {}", list(skipped))]
    NothingUsable {
        /// Where files were searched.
        root: PathBuf,
        /// All files that were left out.
        skipped: Vec<SkippedFile>,
    },
    /// The classes of `.npy` files cannot be determined.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// Labels are given for latents that have their own.
    #[error("{0}: labels are for folders of .npy files; these latents were encoded with theirs")]
    OwnLabels(PathBuf),
    /// The number of values does not match the shape.
    #[error("{actual} values do not fill latents of the shape {shape:?}")]
    Values {
        /// Number of values.
        actual: usize,
        /// `[clips, frames, tokens, channels]`.
        shape: [usize; 4],
    },
    /// Latents that no network computes with.
    #[error("the latents of clip {clip} hold {fault}; encode it again")]
    Broken {
        /// The first such clip.
        clip: usize,
        /// What is wrong with its values.
        fault: Fault,
    },
    /// A class below zero.
    #[error("clip {clip} has the label {label}; labels count from 0")]
    Label {
        /// The first such clip.
        clip: usize,
        /// Its label.
        label: i64,
    },
}

impl LatentError {
    /// Whether the cause is not the file but the environment: the system is out of open files or
    /// memory, or the disk fails.
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Read { source, .. } if ar_files::is_environment(source))
    }

    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        |source| Self::Read { path, source }
    }
}
