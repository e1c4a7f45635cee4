use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file that is left out of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedFile {
    /// The file or folder.
    pub path: PathBuf,
    /// Its kind.
    pub kind: SkipKind,
    /// Why it is left out.
    pub reason: String,
}

/// The kind of a file that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SkipKind {
    /// A video without a usable clip.
    Unusable,
    /// A file that is not a video, although it may be intended as one.
    NoVideo,
    /// A row of the table of labels, or of the list of videos, that names no video of the dataset.
    NoFile,
    /// A video that the table of labels does not name.
    NoLabel,
}

/// The most files that an error names; the others are only counted.
const NAMED: usize = 5;
/// The most reasons in a summary.
const REASONS: usize = 3;

/// The first files, each with its reason.
pub(crate) fn list(skipped: &[SkippedFile]) -> String {
    let named = skipped.iter().take(NAMED);
    let mut files: Vec<String> = named
        .map(|SkippedFile { path, reason, .. }| format!("{}: {reason}", path.display()))
        .collect();
    if skipped.len() > NAMED {
        files.push(format!("and {} more", skipped.len() - NAMED));
    }
    files.join("; ")
}

/// The most common reasons why files of one kind are left out, each with its count. Reasons that
/// differ only in numbers count as the same.
pub(crate) fn reasons(skipped: &[SkippedFile], kind: SkipKind) -> String {
    let mut counts: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for file in skipped.iter().filter(|file| file.kind == kind) {
        let key = file.reason.replace(|c: char| c.is_ascii_digit(), "");
        counts.entry(key).or_insert((0, &file.reason)).0 += 1;
    }
    let mut counts: Vec<(usize, &str)> = counts.into_values().collect();
    counts.sort_by_key(|&(count, _)| std::cmp::Reverse(count));
    let told = counts.iter().take(REASONS);
    let mut told: Vec<String> = told
        .map(|(count, reason)| format!("{count} x \"{reason}\""))
        .collect();
    if let Some(rest) = counts.get(REASONS..).filter(|rest| !rest.is_empty()) {
        let count: usize = rest.iter().map(|(count, _)| count).sum();
        told.push(format!("{count} for other reasons"));
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_reasons_come_first() {
        let skipped = |kind, reason: &str| SkippedFile {
            path: "x".into(),
            kind,
            reason: reason.into(),
        };
        let unusable = SkipKind::Unusable;
        let mut files = vec![
            skipped(SkipKind::NoLabel, "no row"),
            skipped(unusable, "broken"),
            skipped(unusable, "it has 5 frames"),
            skipped(unusable, "it has 12 frames"),
        ];
        assert_eq!(
            reasons(&files, unusable),
            "2 x \"it has 5 frames\", 1 x \"broken\""
        );
        files.extend(["a", "b", "c"].map(|reason| skipped(unusable, reason)));
        assert!(reasons(&files, unusable).ends_with(", 2 for other reasons"));
    }
}
