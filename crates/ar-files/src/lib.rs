//! Files that appear complete or not at all.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("new/report.txt");
//! ar_files::write_atomically(&path, b"all of it")?;
//! assert_eq!(std::fs::read(&path)?, b"all of it");
//! # Ok::<(), std::io::Error>(())
//! ```
#![warn(missing_docs)]

mod content_hash;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile, TempDir};

pub use content_hash::ContentHash;

/// How names of temporary files and folders begin: hidden, so that listings do not take them for
/// results, should the process be killed.
pub const TEMPORARY_PREFIX: &str = ".unfinished-";

/// Writes `bytes` to a temporary sibling of `path` and moves it there. Missing folders above are
/// made.
///
/// # Errors
/// What the system says; an older file at `path` is then untouched.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let mut file = temporary_file_beside(path)?;
    // The file inside, for its errors do not name the temporary file.
    file.as_file_mut().write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Fails where writing to `path` would fail right away: it is a folder, or its folder cannot be
/// written.
///
/// # Errors
/// What the system says.
pub fn check_writable(path: impl AsRef<Path>) -> io::Result<()> {
    temporary_file_beside(path).map(drop)
}

/// An empty temporary file on the same file system as `path`, with the usual permissions. Missing
/// folders above are made.
///
/// # Errors
/// What the system says, or that `path` is a folder.
pub fn temporary_file_beside(path: impl AsRef<Path>) -> io::Result<NamedTempFile> {
    let path = path.as_ref();
    if path.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "this is a folder, not a file",
        ));
    }
    builder(0o666).tempfile_in(create_parent(path)?)
}

/// An empty temporary folder beside `path`, with the usual permissions. Missing folders above are
/// made.
///
/// # Errors
/// What the system says.
pub fn temporary_folder_beside(path: impl AsRef<Path>) -> io::Result<TempDir> {
    builder(0o777).tempdir_in(create_parent(path.as_ref())?)
}

fn create_parent(path: &Path) -> io::Result<&Path> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    Ok(folder)
}

/// Temporary files are private by default; these get the usual permissions, less the umask.
fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// The examples of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = check_writable(folder.path()).expect_err("a folder");
        assert!(error.to_string().contains("folder"), "{error}");
        assert!(write_atomically(folder.path(), b"").is_err());
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        fs::write(&path, "old").expect("a file");
        let mut file = temporary_file_beside(&path).expect("a file");
        file.write_all(b"half").expect("written");
        drop(file);
        assert_eq!(fs::read(&path).expect("a file"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("a list").count(), 1);
    }
}
