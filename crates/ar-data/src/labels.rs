//! Classes of files, by folder or from a table.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ar_files::{expand_home, home_of_another, not_a_home};
use serde::{Deserialize, Serialize};

use crate::one_form::{MOST_BYTES, Plain, in_one_form};
use crate::skipped::{SkipKind, SkippedFile};

/// The source of the classes of files.
///
/// Written `"folders"`, or as the path of a CSV file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Labels {
    /// Every file is in or below a sub-folder that is named for its class.
    Folders,
    /// A table with the columns `path`, relative to the root of the dataset or absolute, and
    /// `class`. Files that it does not name are left out. A path can be spelled in several ways:
    /// `./`, `a/../`, backslashes, and composed or decomposed Unicode make no difference.
    Csv(PathBuf),
}

impl TryFrom<String> for Labels {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(user) = home_of_another(&text) {
            return Err(format!("labels = {text}: {}", not_a_home(&user)));
        }
        let path = expand_home(&text);
        match path.extension() {
            _ if text == "folders" => Ok(Self::Folders),
            Some(extension) if extension.eq_ignore_ascii_case("csv") => Ok(Self::Csv(path)),
            _ => Err(format!(
                "labels are \"folders\" or a CSV file such as \"labels.csv\", but not \"{text}\""
            )),
        }
    }
}

impl From<Labels> for String {
    fn from(labels: Labels) -> Self {
        match labels {
            Labels::Folders => "folders".to_string(),
            Labels::Csv(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// Files whose classes cannot be determined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// A file without a class.
    #[error(
        "with labels = \"folders\" every file must be in a sub-folder of {root} named after its \
         class, but {path} is not"
    )]
    NoClass {
        /// The root of the dataset.
        root: PathBuf,
        /// The first such file.
        path: PathBuf,
    },
    /// The table is not valid CSV.
    #[error("{path}: {source}; a table of labels has the columns path and class")]
    Csv {
        /// The table.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// The table cannot be read, or is too large for a table of labels.
    #[error("{path}: {source}")]
    Read {
        /// The table.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A row is incomplete or contradicts another one.
    #[error("{path}, line {line}: {message}")]
    Row {
        /// The table.
        path: PathBuf,
        /// The line of the row, from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
}

/// The files of a dataset.
pub(crate) struct Selected {
    /// Names in the order of the labels; empty without labels.
    pub classes: Vec<String>,
    /// Files and their labels: either all have one, or none has.
    pub files: Vec<(PathBuf, Option<usize>)>,
}

/// The classes of some files.
#[derive(Debug, PartialEq, Eq)]
struct Assigned {
    /// Names in the order of the labels: sorted, regardless of case.
    classes: Vec<String>,
    /// The label of each file; none for a file that is left out.
    labels: Vec<Option<usize>>,
    /// Files that are in the table but do not exist.
    missing: Vec<PathBuf>,
}

impl Labels {
    /// The files with a class, or all files without one if there are no `labels`. Files that are
    /// left out are added to `skipped`.
    pub(crate) fn select(
        labels: Option<&Self>,
        root: &Path,
        paths: Vec<PathBuf>,
        skipped: &mut Vec<SkippedFile>,
    ) -> Result<Selected, LabelsError> {
        let Some(labels) = labels else {
            return Ok(Selected {
                classes: Vec::new(),
                files: paths.into_iter().map(|path| (path, None)).collect(),
            });
        };
        let Assigned {
            classes,
            labels,
            missing,
        } = labels.assign(root, &paths)?;
        skipped.extend(missing.into_iter().map(|path| SkippedFile {
            path,
            kind: SkipKind::NoFile,
            reason: "the table of labels names it, but it is not in the dataset".to_string(),
        }));
        let mut files = Vec::new();
        for (path, label) in paths.into_iter().zip(labels) {
            match label {
                Some(_) => files.push((path, label)),
                None => skipped.push(SkippedFile {
                    path,
                    kind: SkipKind::NoLabel,
                    reason: "the table of labels does not name it".to_string(),
                }),
            }
        }
        Ok(Selected { classes, files })
    }

    /// The classes of the files at `paths`, all of which are below `root`.
    fn assign(&self, root: &Path, paths: &[PathBuf]) -> Result<Assigned, LabelsError> {
        let relative = |path: &'_ Path| match path.strip_prefix(root) {
            Ok(rest) if rest != Path::new("") => rest.to_path_buf(),
            // The root is the file itself.
            _ => path.file_name().map(PathBuf::from).unwrap_or_default(),
        };
        let paths: Vec<PathBuf> = paths.iter().map(|path| relative(path)).collect();
        let (names, missing) = match self {
            Self::Folders => (folder_names(root, &paths)?, Vec::new()),
            Self::Csv(table) => {
                let mut rows = read_table(table, &Plain::new(root))?;
                let names = paths.iter().map(|path| rows.remove(&in_one_form(path)));
                let names = names.map(|row| Some(row?.class)).collect();
                let missing = rows.into_values().map(|row| root.join(row.path));
                (names, missing.collect())
            }
        };
        let classes: BTreeSet<&String> = names.iter().flatten().collect();
        let mut classes: Vec<String> = classes.into_iter().cloned().collect();
        // The order of UCF-101's own list of classes, in which Hammering comes before HammerThrow.
        classes.sort_by_cached_key(|name| name.to_lowercase());
        let numbers = classes.iter().enumerate();
        let numbers: BTreeMap<&String, usize> = numbers.map(|(i, name)| (name, i)).collect();
        let label = |name: &String| numbers[name];
        let labels = names.iter().map(|name| name.as_ref().map(label)).collect();
        Ok(Assigned {
            classes,
            labels,
            missing,
        })
    }
}

fn folder_names(root: &Path, paths: &[PathBuf]) -> Result<Vec<Option<String>>, LabelsError> {
    let name = |path: &PathBuf| {
        let mut parts = path.components();
        match (parts.next(), parts.next()) {
            (Some(class), Some(_)) => Ok(Some(class.as_os_str().to_string_lossy().into_owned())),
            _ => Err(LabelsError::NoClass {
                root: root.to_path_buf(),
                path: root.join(path),
            }),
        }
    };
    paths.iter().map(name).collect()
}

/// A row of a table.
#[derive(Deserialize)]
struct Row {
    path: PathBuf,
    class: String,
}

/// The rows by their paths [in one form](in_one_form), below `root`.
fn read_table(table: &Path, root: &Plain) -> Result<BTreeMap<String, Row>, LabelsError> {
    let error = |source| LabelsError::Csv {
        path: table.to_path_buf(),
        source,
    };
    let text = ar_files::read(table, MOST_BYTES).map_err(|source| LabelsError::Read {
        path: table.to_path_buf(),
        source,
    })?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_slice());
    let headers = reader.headers().map_err(error)?.clone();
    let mut rows = BTreeMap::new();
    for record in reader.into_records() {
        let record = record.map_err(error)?;
        let line = record.position().map_or(0, csv::Position::line);
        let refuse = |message| LabelsError::Row {
            path: table.to_path_buf(),
            line,
            message,
        };
        let row: Row = record.deserialize(Some(&headers)).map_err(error)?;
        if row.class.is_empty() || row.path == Path::new("") {
            return Err(refuse("the path or the class is empty".to_string()));
        }
        let shown = row.path.display().to_string();
        let class = row.class.clone();
        if let Some(other) = rows.insert(root.below(&row.path), row)
            && other.class != class
        {
            return Err(refuse(format!(
                "{shown} is of the class {class}, but an earlier line says {}",
                other.class
            )));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names
            .iter()
            .map(|name| Path::new("data").join(name))
            .collect()
    }

    fn labels(text: &str) -> Labels {
        Labels::try_from(text.to_string()).unwrap()
    }

    #[test]
    fn they_are_written_as_text() {
        assert_eq!(labels("folders"), Labels::Folders);
        assert_eq!(labels("a/b.CSV"), Labels::Csv("a/b.CSV".into()));
        assert_eq!(String::from(labels("a/b.CSV")), "a/b.CSV");
        let error = Labels::try_from("folder".to_string()).unwrap_err();
        assert!(error.contains("not \"folder\""), "{error}");
    }

    #[test]
    fn folders_are_classes() {
        let files = paths(&["walk/1.mp4", "run/deep/2.mp4", "walk/3.mp4"]);
        let assigned = Labels::Folders.assign(Path::new("data"), &files).unwrap();
        assert_eq!(assigned.classes, ["run", "walk"]);
        assert_eq!(assigned.labels, [Some(1), Some(0), Some(1)]);
        let error = Labels::Folders.assign(Path::new("data"), &paths(&["x.mp4"]));
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("but data/x.mp4 is not"), "{error}");
    }

    #[test]
    fn classes_are_in_the_order_of_ucf101() {
        let files = paths(&[
            "HammerThrow/1.avi",
            "Hammering/1.avi",
            "JumpRope/1.avi",
            "a/1.avi",
        ]);
        let assigned = Labels::Folders.assign(Path::new("data"), &files).unwrap();
        assert_eq!(
            assigned.classes,
            ["a", "Hammering", "HammerThrow", "JumpRope"]
        );
        assert_eq!(assigned.labels, [2, 1, 3, 0].map(Some));
    }

    /// The table of `text` for the files `a.mp4` and `b/c.mp4`.
    fn assign(text: &str) -> Result<Assigned, String> {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("labels.csv");
        std::fs::write(&table, text).unwrap();
        Labels::Csv(table.clone())
            .assign(Path::new("data"), &paths(&["a.mp4", "b/c.mp4"]))
            .map_err(|error| error.to_string().replace(&table.display().to_string(), "T"))
    }

    #[test]
    fn a_table_names_classes() {
        let assigned = assign(
            "class, path, note\nwalk, b/c.mp4, 1\n\"run, fast\", gone.mp4, 2\nwalk, b/c.mp4, 3\n",
        )
        .unwrap();
        assert_eq!(
            assigned,
            Assigned {
                classes: vec!["walk".to_string()],
                labels: vec![None, Some(0)],
                missing: paths(&["gone.mp4"]),
            }
        );
    }

    #[test]
    fn bad_tables_are_errors() {
        for (text, message) in [
            ("path\na.mp4\n", "missing field `class`"),
            ("path,class\na.mp4\n", "T: CSV error"),
            (
                "path,class\na.mp4,\n",
                "T, line 2: the path or the class is empty",
            ),
            (
                "path,class\na.mp4,x\na.mp4,y\n",
                "T, line 3: a.mp4 is of the class y, but an earlier line says x",
            ),
        ] {
            let error = assign(text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        #[cfg(unix)]
        {
            let endless = Labels::Csv("/dev/full".into());
            let error = endless.assign(Path::new("data"), &[]).unwrap_err();
            assert!(
                error.to_string().contains("this is a device, not a file"),
                "{error}"
            );
        }
        let nowhere = Labels::Csv("nowhere.csv".into());
        let error = nowhere.assign(Path::new("data"), &[]).unwrap_err();
        assert!(error.to_string().starts_with("nowhere.csv: "), "{error}");
    }

    #[test]
    fn a_path_may_be_written_in_many_ways() {
        let root = tempfile::tempdir().unwrap();
        // Composed, as Linux writes it, and decomposed, as macOS does.
        let files = ["a.mp4", "b/c.mp4", "caf\u{e9}.mp4", "cafe\u{301}s.mp4"];
        let paths: Vec<PathBuf> = files.iter().map(|name| root.path().join(name)).collect();
        let absolute = root.path().join("a.mp4").display().to_string();
        for [a, b] in [
            ["a.mp4", "b/c.mp4"],
            ["./a.mp4", "b/./c.mp4"],
            ["b/../a.mp4", "x/../b/c.mp4"],
            ["a.mp4", "b\\c.mp4"],
            [&absolute, ".//b//c.mp4"],
        ] {
            let table = root.path().join("labels.csv");
            let rows = ["cafe\u{301}.mp4,y", "caf\u{e9}s.mp4,z"].join("\n");
            std::fs::write(&table, format!("path,class\n{a},x\n{b},y\n{rows}\n")).unwrap();
            let assigned = Labels::Csv(table).assign(root.path(), &paths).unwrap();
            assert_eq!(assigned.labels, [0, 1, 1, 2].map(Some), "{a} {b}");
            assert!(assigned.missing.is_empty());
        }
        let twice = assign("path,class\na.mp4,x\n./a.mp4,y\n").unwrap_err();
        assert!(twice.contains("./a.mp4 is of the class y"), "{twice}");
    }
}
