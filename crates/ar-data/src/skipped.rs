use std::fmt::Write;
use std::path::PathBuf;

/// A file that is left out of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedFile {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it is left out.
    pub reason: String,
}

/// Files that an error names; the others it counts.
const NAMED: usize = 10;

/// A line for each of the first files.
pub(crate) fn list(skipped: &[SkippedFile]) -> String {
    let mut text = String::new();
    for SkippedFile { path, reason } in skipped.iter().take(NAMED) {
        let _ = write!(text, "\n  {}: {reason}", path.display());
    }
    if skipped.len() > NAMED {
        let _ = write!(text, "\n  and {} more", skipped.len() - NAMED);
    }
    text
}
