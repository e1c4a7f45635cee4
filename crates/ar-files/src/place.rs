//! What a path leads to, and whether that can be replaced.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// The number of links that Linux follows.
const MOST_LINKS: usize = 40;

/// Where the bytes of an output are written.
#[derive(Debug)]
pub(crate) enum Place {
    /// To a file beside `target`, which then replaces it.
    Beside {
        target: PathBuf,
        /// The existing file.
        before: Option<Metadata>,
    },
    /// Into an existing pipe or device.
    Into(PathBuf),
}

impl Place {
    /// Follows links.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let target = follow(path)?;
        let before = match fs::metadata(&target) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::Beside {
                    target,
                    before: None,
                });
            }
            Err(error) => return Err(error),
        };
        if before.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "this is a folder, not a file",
            ));
        }
        if is_socket(&before) {
            return Err(io::Error::other("this is a socket, not a file"));
        }
        if !before.is_file() || is_descriptor(path) {
            return Ok(Self::Into(target));
        }
        Ok(Self::Beside {
            target,
            before: Some(before),
        })
    }
}

/// Where `path` leads if it is a link, whether or not something exists there.
pub(crate) fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        // An open file without a path, such as a pipe: the link leads nowhere.
        if is_descriptor(&path) {
            return Ok(path);
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                let to = fs::read_link(&path)?;
                path = folder_of(&path).join(to);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("a link that leads to itself"))
}

/// The folder that a path is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Whether a path represents a file that a process has open, which replacing the path would not affect.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"]
        .iter()
        .any(|start| path.starts_with(start))
}

/// Whether a path leads to a pipe or a device, which is written to and not replaced.
///
/// # Errors
/// Errors of the system, or if the path is a folder.
pub fn is_stream(path: impl AsRef<Path>) -> io::Result<bool> {
    Ok(matches!(Place::of_file(path.as_ref())?, Place::Into(_)))
}

/// Fails if the file or folder at `target` could not be replaced by renaming another one: it belongs to somebody else
/// in a shared folder, is immutable, or something is mounted on it.
pub(crate) fn check_replaceable(target: &Path) -> io::Result<()> {
    if is_mount_point(target) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a file system is mounted here, so it cannot be replaced",
        ));
    }
    let is_folder = target.is_dir();
    // The system refuses to replace a file by a folder, and a folder by a file, but it first checks whether the target
    // may be removed.
    let (probe, expected);
    if is_folder {
        probe = crate::temporary::file_in(folder_of(target), true)?
            .into_temp_path()
            .keep()?;
        expected = [
            io::ErrorKind::IsADirectory,
            io::ErrorKind::DirectoryNotEmpty,
        ];
    } else {
        probe = crate::temporary::TemporaryFolder::new_in(folder_of(target))?.keep();
        expected = [io::ErrorKind::NotADirectory, io::ErrorKind::AlreadyExists];
    }
    let renamed = if cfg!(unix) {
        fs::rename(&probe, target)
    } else {
        Err(expected[0].into())
    };
    let left = match renamed {
        // The target has disappeared in the meantime.
        Ok(()) => target,
        Err(_) => &probe,
    };
    let removed = if is_folder {
        fs::remove_file(left)
    } else {
        fs::remove_dir(left)
    };
    match renamed {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::ResourceBusy
            ) =>
        {
            Err(io::Error::new(
                error.kind(),
                format!("it cannot be replaced: {error}"),
            ))
        }
        _ => removed,
    }
}

#[cfg(unix)]
fn is_socket(metadata: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_socket(_: &Metadata) -> bool {
    false
}

/// Whether something is mounted here, according to Linux.
fn is_mount_point(path: &Path) -> bool {
    let (Ok(path), Ok(mounts)) = (
        path.canonicalize(),
        fs::read_to_string("/proc/self/mountinfo"),
    ) else {
        return false;
    };
    let path = path.to_string_lossy();
    // The fifth word is the mount point, in which a space is `\040`.
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|mount| mount.replace("\\040", " ") == path)
}
