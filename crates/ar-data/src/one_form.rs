//! Normalised paths, because tables and lists spell paths in many ways.

use std::path::{Component, Path};

use unicode_normalization::UnicodeNormalization;

/// The most bytes of a table or a list that are read: millions of rows.
pub(crate) const MOST_BYTES: u64 = 1 << 28;

/// The root of a dataset, in the forms with which absolute paths may start.
pub(crate) struct Plain(Vec<String>);

impl Plain {
    pub(crate) fn new(root: &Path) -> Self {
        let forms = [std::path::absolute(root), root.canonicalize()];
        Self(
            forms
                .into_iter()
                .flatten()
                .map(|root| in_one_form(&root))
                .collect(),
        )
    }

    /// The [normalised](in_one_form) path of a row, relative to the root if it is below it.
    pub(crate) fn below(&self, path: &Path) -> String {
        let path = in_one_form(path);
        let below = |root: &String| path.strip_prefix(root)?.strip_prefix('/');
        match self.0.iter().find_map(below) {
            Some(rest) => rest.to_owned(),
            None => path,
        }
    }
}

/// A path without `.` and `..` (by name: links are not followed), with slashes, and with composed
/// letters, so that all spellings become the same.
pub(crate) fn in_one_form(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "/");
    let mut parts: Vec<&str> = Vec::new();
    let path = Path::new(&text);
    for part in path.components() {
        match part {
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir if parts.last().is_some_and(|&last| last != "..") => {
                parts.pop();
            }
            part => parts.push(part.as_os_str().to_str().unwrap_or_default()),
        }
    }
    let start = if path.has_root() { "/" } else { "" };
    let joined = format!("{start}{}", parts.join("/"));
    joined.nfc().collect()
}
