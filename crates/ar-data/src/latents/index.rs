//! The index of a folder of latents.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ar_files::{ContentHash, Integrity, MOST_TEXT, read_text, verify_file, write_sealed};
use serde::{Deserialize, Serialize};

use super::LatentError;

/// The index of a folder of latents, `index.json`.
///
/// ```text
/// FOLDER/index.json
/// FOLDER/shard-00000-of-00008.safetensors      clips 0..clips_per_shard
/// FOLDER/shard-00001-of-00008.safetensors      the next ones
/// ```
///
/// All of it is known before the first clip is encoded. A shard appears only when it is complete,
/// so existing shards need not be encoded again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentIndex {
    /// Number of clips in the dataset. There are fewer latents if some clips could not be read.
    pub clips: usize,
    /// Clips per shard; the last one may have fewer.
    pub clips_per_shard: usize,
    /// Names of the classes in the order of the labels; empty without labels.
    pub classes: Vec<String>,
    /// What the latents were made from and with, line by line.
    pub source: Vec<String>,
    /// Whether the index and the shards are written with checksums; older versions wrote none.
    #[serde(default)]
    pub checksums: bool,
    /// A hash of the files that the clips come from. Shards of an index with one say which index they belong to, and
    /// which shard they are; older versions wrote neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// More shards than any folder has.
const MOST_SHARDS: usize = 1_000_000;

/// Keys of `[data]` that latents do not depend on, since all clips are encoded, in whatever way they
/// are read and split. Indices of older versions list them too.
pub(crate) const NOT_OF_LATENTS: [&str; 8] = [
    "validation",
    "held_out",
    "workers",
    "prefetch",
    "flip",
    "one_per_video",
    "max_memory_mib",
    "max_unusable",
];

/// Whether latents depend on what a line of a source says.
fn is_of_latents(line: &str) -> bool {
    let is_key = |key: &str| {
        let rest = line.strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with(" = "))
    };
    !NOT_OF_LATENTS.iter().any(|key| is_key(key))
}

impl LatentIndex {
    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.clips.div_ceil(self.clips_per_shard.max(1))
    }

    /// The clips of a shard.
    pub fn clips_of(&self, shard: usize) -> Range<usize> {
        let first = shard * self.clips_per_shard;
        first..self.clips.min(first.saturating_add(self.clips_per_shard))
    }

    /// The file of a shard in `folder`.
    pub fn shard_path(&self, folder: impl AsRef<Path>, shard: usize) -> PathBuf {
        folder.as_ref().join(format!(
            "shard-{shard:05}-of-{:05}.safetensors",
            self.shards()
        ))
    }

    /// The path of a folder's index.
    pub fn path(folder: impl AsRef<Path>) -> PathBuf {
        folder.as_ref().join("index.json")
    }

    /// Reads the index of a folder, if it has one.
    ///
    /// # Errors
    /// If it cannot be read, or is inconsistent.
    pub fn load(folder: impl AsRef<Path>) -> Result<Option<Self>, LatentError> {
        let path = Self::path(folder);
        if !path.exists() {
            return Ok(None);
        }
        let integrity = verify_file(&path).map_err(LatentError::read(&path))?;
        let text = read_text(&path, MOST_TEXT).map_err(LatentError::read(&path))?;
        let mut index: Self = serde_json::from_str(&text).map_err(|source| LatentError::Index {
            path: path.clone(),
            message: source.to_string(),
        })?;
        if index.checksums && integrity == Integrity::Unknown {
            return Err(LatentError::NoChecksum { path });
        }
        // A version wrote checksums without saying so.
        index.checksums |= integrity == Integrity::Verified;
        if index.clips == 0 || index.clips_per_shard == 0 {
            return Err(LatentError::Index {
                path,
                message: "clips and clips_per_shard must be at least 1".to_string(),
            });
        }
        if index.shards() > MOST_SHARDS {
            return Err(LatentError::Index {
                path,
                message: format!(
                    "{} clips, {} a shard, are {} shards; at most {MOST_SHARDS} are read",
                    index.clips,
                    index.clips_per_shard,
                    index.shards()
                ),
            });
        }
        Ok(Some(index))
    }

    /// Writes the index, and its checksum, into a folder, which is created if it is missing.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), LatentError> {
        let path = Self::path(folder);
        let text = serde_json::to_string_pretty(self).expect("an index is text and numbers");
        write_sealed(&path, text.as_bytes()).map_err(|source| LatentError::Write {
            path,
            source: source.into(),
        })
    }

    /// What the shards of this index say that they belong to: a hash of all that latents depend on. None for an index of
    /// an older version.
    pub(super) fn identity(&self) -> Option<String> {
        let content = self.content.as_ref()?;
        let numbers = format!("{} {}\n", self.clips, self.clips_per_shard);
        let lines = self.classes.iter().chain(&self.source).chain([content]);
        let hash = lines.fold(ContentHash::EMPTY.and(numbers.as_bytes()), |hash, line| {
            hash.and(line.as_bytes()).and(b"\n")
        });
        Some(hash.to_string())
    }

    /// A description of the first difference from another index of the same folder.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if let (Some(ours), Some(theirs)) = (&self.content, &other.content)
            && ours != theirs
            && self.clips == other.clips
        {
            return Some("the files of the clips have changed since".into());
        }
        let lines = |index: &Self| {
            let mut lines = vec![
                format!("clips = {}", index.clips),
                format!("clips_per_shard = {}", index.clips_per_shard),
                format!("classes = {}", index.classes.join(", ")),
            ];
            let source = index.source.iter().filter(|line| is_of_latents(line));
            lines.extend(source.cloned());
            lines
        };
        let (ours, theirs) = (lines(self), lines(other));
        let missing = |from: &[String], of: &[String]| {
            let missing = of.iter().find(|line| !from.contains(line));
            missing.map_or("nothing of it".to_string(), |line| format!("`{line}`"))
        };
        (ours != theirs).then(|| {
            format!(
                "{} here, {} there",
                missing(&theirs, &ours),
                missing(&ours, &theirs)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> LatentIndex {
        LatentIndex {
            clips: 10,
            clips_per_shard: 4,
            classes: vec!["run".to_string()],
            source: vec!["size = 64".to_string()],
            checksums: true,
            content: Some("0123".to_string()),
        }
    }

    #[test]
    fn shards_share_the_clips() {
        let index = index();
        assert_eq!(index.shards(), 3);
        let clips: Vec<_> = (0..3).map(|shard| index.clips_of(shard)).collect();
        assert_eq!(clips, [0..4, 4..8, 8..10]);
        assert_eq!(
            index.shard_path(Path::new("x"), 2),
            Path::new("x/shard-00002-of-00003.safetensors")
        );
    }

    #[test]
    fn an_index_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        assert_eq!(LatentIndex::load(&folder).unwrap(), None);
        index().save(&folder).unwrap();
        assert_eq!(LatentIndex::load(&folder).unwrap(), Some(index()));
        for text in [
            "",
            "{\"clips\": 3}",
            "{\"clips\":9223372036854775808,\"clips_per_shard\":1,\"classes\":[],\"source\":[]}",
            "{\"clips\":18446744073709551615,\"clips_per_shard\":2,\"classes\":[],\"source\":[]}",
            "{\"clips\":0,\"clips_per_shard\":1,\"classes\":[],\"source\":[]}",
        ] {
            write_sealed(LatentIndex::path(&folder), text.as_bytes()).unwrap();
            let error = LatentIndex::load(&folder).unwrap_err().to_string();
            assert!(error.contains("index.json: "), "{error}");
        }
    }

    #[test]
    fn differences_are_named() {
        assert_eq!(index().difference(&index()), None);
        let mut other = index();
        other.content = Some("4567".to_string());
        assert_eq!(
            index().difference(&other).unwrap(),
            "the files of the clips have changed since"
        );
        other.content = None;
        assert_eq!(index().difference(&other), None, "an older version");
        other.source = vec!["size = 32".to_string()];
        assert_eq!(
            index().difference(&other).unwrap(),
            "`size = 64` here, `size = 32` there"
        );
        for key in [
            "held_out = 16",
            "validation = 16",
            "one_per_video = false",
            "max_unusable = 0.5",
        ] {
            other.source = vec!["size = 64".to_string(), key.to_string()];
            assert_eq!(index().difference(&other), None, "{key}");
        }
        other.source.clear();
        assert_eq!(
            index().difference(&other).unwrap(),
            "`size = 64` here, nothing of it there"
        );
    }
}
