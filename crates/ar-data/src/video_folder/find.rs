//! Which files below a folder are videos.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ar_video::is_video_path;

use super::config::VideoFolderError;

/// The videos in and below a folder in the order of their paths, or the one that `root` is.
pub(super) fn find_videos(root: &Path) -> Result<Vec<PathBuf>, VideoFolderError> {
    if root.is_file() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut videos = Vec::new();
    collect_videos(root, &mut BTreeSet::new(), &mut videos)?;
    videos.sort();
    Ok(videos)
}

/// Adds the videos in and below a folder. `seen` holds the folders that were
/// entered, so that links in a circle end.
fn collect_videos(
    folder: &Path,
    seen: &mut BTreeSet<PathBuf>,
    videos: &mut Vec<PathBuf>,
) -> Result<(), VideoFolderError> {
    let error = |source| VideoFolderError::List {
        path: folder.to_path_buf(),
        source,
    };
    if !seen.insert(folder.canonicalize().map_err(error)?) {
        return Ok(());
    }
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_video_path(&path) {
            files.push(path);
        }
    }
    // Images beside video files are covers or previews of them.
    if files.is_empty() && is_video_path(folder) {
        videos.push(folder.to_path_buf());
        return Ok(());
    }
    videos.append(&mut files);
    // In order, so that of two links to a folder always the same is taken.
    folders.sort();
    folders
        .iter()
        .try_for_each(|path| collect_videos(path, seen, videos))
}
