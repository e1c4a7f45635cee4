//! Whether two paths lead to the same file.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::place::{folder_of, follow};

/// The identity of a file, whatever it is called.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// Device and inode number.
    #[cfg(unix)]
    Existing(u64, u64),
    /// Its path without links.
    #[cfg(not(unix))]
    Existing(PathBuf),
    /// A name in a folder where nothing exists yet.
    New(Box<Identity>, OsString),
}

/// None for the null device, to which any number of outputs may be written, and if the system does not say.
fn identity(path: &Path) -> Option<Identity> {
    let path = follow(path).ok()?;
    match fs::metadata(&path) {
        Ok(metadata) => existing(&path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.file_name() {
            Some(name) => Some(Identity::New(
                Box::new(identity(folder_of(&path))?),
                name.to_owned(),
            )),
            // `new/..`
            None => identity(folder_of(folder_of(&path))),
        },
        Err(_) => None,
    }
}

#[cfg(unix)]
fn existing(_: &Path, metadata: &fs::Metadata) -> Option<Identity> {
    of_metadata(metadata)
}

#[cfg(unix)]
fn of_metadata(metadata: &fs::Metadata) -> Option<Identity> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let is_null = metadata.file_type().is_char_device()
        && fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev());
    (!is_null).then(|| Identity::Existing(metadata.dev(), metadata.ino()))
}

/// The identity of this process's standard output.
#[cfg(unix)]
fn of_stdout() -> Option<Identity> {
    use std::os::fd::AsFd;

    let stdout = std::io::stdout().as_fd().try_clone_to_owned().ok()?;
    of_metadata(&fs::File::from(stdout).metadata().ok()?)
}

#[cfg(not(unix))]
fn of_stdout() -> Option<Identity> {
    None
}

#[cfg(not(unix))]
fn existing(path: &Path, _: &fs::Metadata) -> Option<Identity> {
    path.canonicalize().ok().map(Identity::Existing)
}

/// Whether two paths lead to the same file or folder, or would if it existed, whatever their links
/// and spellings.
pub fn is_same_file(a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
    identity(a.as_ref()).is_some_and(|a| Some(a) == identity(b.as_ref()))
}

/// Whether `path` leads to the standard output of this process, if that is a file, a pipe, or a device other than the
/// null device.
pub fn is_stdout(path: impl AsRef<Path>) -> bool {
    of_stdout().is_some_and(|stdout| Some(stdout) == identity(path.as_ref()))
}

/// Whether `path` leads to `folder` or to something below it.
pub fn lies_in(path: impl AsRef<Path>, folder: impl AsRef<Path>) -> bool {
    let Some(folder) = identity(folder.as_ref()) else {
        return false;
    };
    let Ok(path) = follow(path.as_ref()).and_then(|path| match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(_) => std::path::absolute(path),
    }) else {
        return false;
    };
    path.ancestors()
        .any(|above| identity(above).as_ref() == Some(&folder))
}

/// The name under which a path's file is in its folder, and the folder, links followed.
pub fn name_of(path: impl AsRef<Path>) -> Option<(PathBuf, OsString)> {
    let path = follow(path.as_ref()).ok()?;
    Some((folder_of(&path).to_owned(), path.file_name()?.to_owned()))
}
