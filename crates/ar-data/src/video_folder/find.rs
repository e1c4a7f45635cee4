//! Which files below a folder are videos.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ar_video::FileKind;

use super::config::VideoFolderError;
use crate::skipped::{SkipKind, SkippedFile};

/// What was found below a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The videos in the order of their paths.
    pub videos: Vec<PathBuf>,
    /// Files that are not videos although they may be intended as such.
    pub passed_over: Vec<SkippedFile>,
}

/// The videos in and below a folder, or `root` itself if it is a video.
pub(super) fn find_videos(root: &Path) -> Result<Found, VideoFolderError> {
    let mut found = Found::default();
    if root.is_file() {
        found.videos.push(root.to_path_buf());
        return Ok(found);
    }
    let mut seen = BTreeSet::new();
    found.collect(root, &mut seen)?;
    found.videos.sort();
    Ok(found)
}

impl Found {
    /// Adds the videos in and below a folder. `seen` holds the folders that were entered, so that
    /// cycles of links end. Returns whether there are videos or pictures.
    fn collect(
        &mut self,
        folder: &Path,
        seen: &mut BTreeSet<PathBuf>,
    ) -> Result<bool, VideoFolderError> {
        let error = |source| VideoFolderError::List {
            path: folder.to_path_buf(),
            source,
        };
        if !seen.insert(folder.canonicalize().map_err(error)?) {
            return Ok(false);
        }
        let (mut folders, mut videos) = (Vec::new(), Vec::new());
        let mut pictures: usize = 0;
        // Files that are not read, by extension: one of them, and how many there are.
        let mut others = BTreeMap::new();
        let mut has_other_pictures = false;
        for entry in fs::read_dir(folder).map_err(error)? {
            let entry = entry.map_err(error)?;
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            match FileKind::of(&path) {
                FileKind::Video => videos.push(path),
                FileKind::Picture => pictures += 1,
                kind @ (FileKind::OtherPicture | FileKind::Unknown) => {
                    has_other_pictures |= kind == FileKind::OtherPicture;
                    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
                    let (first, count) = others.entry(extension).or_insert((path.clone(), 0_usize));
                    if path < *first {
                        *first = path;
                    }
                    *count += 1;
                }
                _ => {}
            }
        }
        // Sorted: if two links lead to a folder, the same one is always used.
        folders.sort();
        let mut has_below = false;
        for path in &folders {
            has_below |= self.collect(path, seen)?;
        }

        let beside = match () {
            () if !videos.is_empty() => Some("videos"),
            () if has_below => Some("folders with videos or pictures"),
            () if has_other_pictures => Some("pictures of a kind that is not read"),
            () => None,
        };
        let has_any = pictures > 0 || !videos.is_empty() || has_below || has_other_pictures;
        self.videos.append(&mut videos);
        match beside {
            None if pictures > 0 => self.videos.push(folder.to_path_buf()),
            Some(beside) if pictures > 0 => self.pass_over(
                folder,
                format!(
                    "its pictures ({pictures}) are not the frames of a video, because it also has \
                     {beside}; a folder of frames has nothing else in it"
                ),
            ),
            _ => {}
        }
        for (extension, (first, count)) in others {
            let reason = match extension.to_string_lossy() {
                extension if extension.is_empty() => "its name has no extension".to_string(),
                extension => format!("files with the extension {extension} are not read"),
            };
            self.pass_over(
                &first,
                match count {
                    1 => reason,
                    _ => format!("{reason} (and {} more in this folder)", count - 1),
                },
            );
        }
        Ok(has_any)
    }

    fn pass_over(&mut self, path: &Path, reason: String) {
        self.passed_over.push(SkippedFile {
            path: path.to_path_buf(),
            kind: SkipKind::NoVideo,
            reason,
        });
    }
}
