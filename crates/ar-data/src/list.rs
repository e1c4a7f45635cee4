//! Lists of files, such as the split lists that come with datasets.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ar_files::expand_home;
use serde::{Deserialize, Serialize};

use crate::one_form::{MOST_BYTES, Plain, in_one_form};
use crate::skipped::{SkipKind, SkippedFile};

/// The videos, and folders of videos, that belong to a dataset, such as the videos of a split. Paths are relative to
/// the dataset's folder; `.` is all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a file that lists videos, or an array of videos and folders of videos"
)]
pub enum VideoList {
    /// A text file with one path per line.
    File(PathBuf),
    /// The paths.
    Names(Vec<String>),
}

impl VideoList {
    /// The file, if the list is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Names(_) => None,
        }
    }

    /// Replaces a `~` at the start of the file's path by the user's home folder.
    pub(crate) fn with_home(self) -> Self {
        match self {
            Self::File(path) => Self::File(expand_home(path)),
            names => names,
        }
    }
}

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It cannot be read.
    #[error(
        "{}: {source}; a list of videos comes with its dataset, such as UCF-101's in \
         UCF101TrainTestSplits-RecognitionTask.zip (docs/datasets.md says where to get it); \
         data.list = [\".\"] takes all videos",
        path.display()
    )]
    Read {
        /// The list.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Fewer of its files exist than allowed.
    #[error(
        "{list}: {missing} of {entries} entries name no video below {}, such as {example}, more than \
         data.videos.max_unusable = {most} allows: add the videos, correct the list or data.path, or raise \
         max_unusable to continue without them",
        root.display()
    )]
    TooManyMissing {
        /// The list.
        list: String,
        /// The folder of videos.
        root: PathBuf,
        /// Entries that name no video.
        missing: usize,
        /// All entries.
        entries: usize,
        /// One of those that name no video.
        example: String,
        /// The allowed share.
        most: f64,
    },
    /// None of its files exists.
    #[error("{list}: names no video below {}; {hint}", root.display())]
    Nothing {
        /// The list.
        list: String,
        /// The folder of videos.
        root: PathBuf,
        /// How to fix it.
        hint: String,
    },
}

/// The files of `paths` that are in `list`, in the order of `paths`. An entry is a path below `root`, of a file, with or
/// without its extension, or of a folder, which may hold the frames of a video of that name; in a file, a number after it, as in UCF-101's lists, is ignored, and so are
/// empty lines. Entries that do not exist are added to `skipped`; their share may be `most`.
pub(crate) fn select(
    list: &VideoList,
    root: &Path,
    paths: Vec<PathBuf>,
    most: f64,
    skipped: &mut Vec<SkippedFile>,
) -> Result<Vec<PathBuf>, ListError> {
    let text;
    let entries: Vec<&str> = match list {
        VideoList::File(list) => {
            text = ar_files::read_text(list, MOST_BYTES).map_err(|source| ListError::Read {
                path: list.to_owned(),
                source,
            })?;
            // Windows marks text files with this.
            text.trim_start_matches('\u{feff}')
                .lines()
                .map(entry)
                .collect()
        }
        VideoList::Names(names) => names.iter().map(String::as_str).collect(),
    };
    let plain = Plain::new(root);
    let lines = entries.into_iter().filter(|entry| !entry.is_empty());
    // By normalised path: the entry, and whether it exists.
    let mut named: BTreeMap<String, (&str, bool)> = lines
        .map(|entry| {
            let path = plain.below(Path::new(entry));
            // Some lists start their paths at the root of the dataset.
            (path.trim_start_matches('/').to_owned(), (entry, false))
        })
        .collect();
    // A video of the list may be there as a folder of its frames.
    let without_extensions: BTreeMap<String, String> = named
        .keys()
        .map(|name| (Path::new(name).with_extension(""), name.clone()))
        .filter_map(|(stem, name)| Some((stem.to_str()?.to_owned(), name)))
        .collect();
    let example = paths.first().map(|path| relative(root, path));
    let kept: Vec<PathBuf> = paths
        .into_iter()
        .filter(|path| {
            let path = in_one_form(&relative(root, path));
            let path = Path::new(&path);
            let without_extension = path.with_extension("");
            let mut is_named = false;
            let as_frames = path.to_str().and_then(|path| without_extensions.get(path));
            let names = path.ancestors().chain([&*without_extension]);
            for name in names.chain(as_frames.map(Path::new)) {
                let entry = name.to_str().and_then(|name| named.get_mut(name));
                if let Some((_, is_there)) = entry {
                    *is_there = true;
                    is_named = true;
                }
            }
            is_named
        })
        .collect();
    let name = || match list {
        VideoList::File(path) => path.display().to_string(),
        VideoList::Names(names) => format!("data.list = {names:?}"),
    };
    if kept.is_empty() {
        let last = root.file_name().and_then(|name| name.to_str());
        let doubled = last.filter(|last| named.contains_key(*last));
        return Err(ListError::Nothing {
            list: name(),
            root: root.to_owned(),
            hint: match doubled {
                Some(last) => format!("data.path is the folder that {last} is in"),
                None => format!(
                    "it names videos below that folder, or folders of videos, such as {}",
                    example.unwrap_or_default().display()
                ),
            },
        });
    }
    let entries = named.len();
    let missing = named.into_values().filter(|(_, is_there)| !is_there);
    let missing: Vec<&str> = missing.map(|(entry, _)| entry).collect();
    if missing.len() as f64 > most * entries as f64 {
        return Err(ListError::TooManyMissing {
            list: name(),
            root: root.to_owned(),
            missing: missing.len(),
            entries,
            example: missing[0].to_owned(),
            most,
        });
    }
    skipped.extend(missing.into_iter().map(|entry| SkippedFile {
        path: root.join(entry.trim_start_matches(['/', '\\'])),
        kind: SkipKind::NoFile,
        reason: "the list names it, but it is not in the dataset".to_string(),
    }));
    Ok(kept)
}

/// The path in a line.
fn entry(line: &str) -> &str {
    let line = line.trim();
    match line.rsplit_once(char::is_whitespace) {
        Some((path, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => path.trim_end(),
        _ => line,
    }
}

fn relative(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_files_and_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = folder.path().join("trainlist03.txt");
        let root = Path::new("data");
        let paths = ["a/x.avi", "a/y.avi", "b/c/z", "d 1/v.avi", "e/w.avi"];
        let paths: Vec<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
        let select = |text: &str| {
            std::fs::write(&list, text).expect("a list");
            let mut skipped = Vec::new();
            let list = VideoList::File(list.clone());
            select(&list, root, paths.clone(), 0.5, &mut skipped).map(|kept| {
                let kept = kept
                    .iter()
                    .map(|path| relative(root, path).display().to_string());
                let left = skipped.iter().map(|file| file.path.display().to_string());
                (kept.collect::<Vec<_>>(), left.collect::<Vec<_>>())
            })
        };
        let kept = |text: &str| select(text).expect("a list").0;
        // As in UCF-101; without extensions; folders.
        assert_eq!(kept("a/y.avi 7\r\ne/w.avi 12\n"), ["a/y.avi", "e/w.avi"]);
        assert_eq!(kept("e/w\n\na/x"), ["a/x.avi", "e/w.avi"]);
        assert_eq!(kept("b/\na\n"), ["a/x.avi", "a/y.avi", "b/c/z"]);
        assert_eq!(kept("b\\c\\z"), ["b/c/z"]);
        assert_eq!(kept("./b/../e/w.avi\na//x"), ["a/x.avi", "e/w.avi"]);
        // From Windows; a folder of the frames of a video.
        assert_eq!(
            kept("\u{feff}a/x.avi 1\r\nb/c/z.avi 2\r\n"),
            ["a/x.avi", "b/c/z"]
        );
        let (_, missing) = select("a/x.avi\ngone.avi").expect("a list");
        assert_eq!(missing, ["data/gone.avi"]);
        // One of three is there.
        let error = select("gone.avi\na/x.avi\nlost.avi").expect_err("too few");
        let error = error.to_string();
        let told = "trainlist03.txt: 2 of 3 entries name no video below data, such as gone.avi, more than \
                    data.videos.max_unusable = 0.5 allows";
        assert!(error.contains(told), "{error}");
        let error = select("gone.avi 3").expect_err("nothing").to_string();
        assert!(error.contains("such as a/x.avi"), "{error}");
        std::fs::remove_file(&list).expect("removed");
        let select =
            |list: VideoList| super::select(&list, root, paths.clone(), 0.5, &mut Vec::new());
        let error = select(VideoList::File(list))
            .expect_err("no list")
            .to_string();
        for part in [
            "trainlist03.txt: ",
            "UCF101TrainTestSplits-RecognitionTask.zip",
            "docs/datasets.md",
            "data.list = [\".\"] takes all videos",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        // In the configuration itself, where a name may end in a number.
        let names = |names: &[&str]| {
            select(VideoList::Names(
                names.iter().map(|&name| name.into()).collect(),
            ))
        };
        assert_eq!(names(&["d 1", "e"]).expect("two").len(), 2);
        assert_eq!(names(&["."]).expect("all"), paths);
        let error = names(&["data"])
            .expect_err("one folder too low")
            .to_string();
        assert_eq!(
            error,
            "data.list = [\"data\"]: names no video below data; data.path is the folder that data is in"
        );
    }
}
