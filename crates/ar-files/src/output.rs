use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{PathPersistError, TempPath};

use crate::place::{Place, check_replaceable, folder_of, follow};
use crate::temporary::{TEMPORARY_PREFIX, file_in};

/// The prefix of names of finished files that could not be moved to their paths.
const FINISHED_PREFIX: &str = ".finished-";

/// A file that is being written. [`persist`](Self::persist) moves the complete file to its path. If it is dropped
/// before, it leaves nothing.
///
/// - An existing file is replaced by renaming; its permissions are kept, and if possible its owner.
/// - Links are followed: the target is replaced.
/// - A pipe or a device is written to, at the end.
///
/// Until then, it supports reading and seeking.
#[derive(Debug)]
pub struct OutputFile {
    file: BufWriter<File>,
    destination: Destination,
}

#[derive(Debug)]
enum Destination {
    Beside {
        temporary: TempPath,
        target: PathBuf,
        before: Option<Metadata>,
    },
    Into(PathBuf),
}

impl OutputFile {
    /// Starts the file. Missing parent folders are created.
    ///
    /// # Errors
    /// Errors of the system, or if `path` is a folder or a socket.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(match Place::of_file(path.as_ref())? {
            Place::Beside { target, before } => {
                let folder = folder_of(&target);
                fs::create_dir_all(folder)?;
                // The permissions of the replaced file are set at the end; until then, nobody can read the file who may
                // not read the replaced one.
                let (file, temporary) = file_in(folder, before.is_some())?.into_parts();
                Self {
                    file: BufWriter::new(file),
                    destination: Destination::Beside {
                        temporary,
                        target,
                        before,
                    },
                }
            }
            Place::Into(target) => Self {
                file: BufWriter::new(tempfile::tempfile()?),
                destination: Destination::Into(target),
            },
        })
    }

    /// Moves the file to its path when it is on the disk.
    ///
    /// # Errors
    /// Errors of the system. If the complete file cannot be moved to its path, it is kept, and the message names it.
    pub fn persist(self) -> io::Result<()> {
        let Self { file, destination } = self;
        let mut file = file.into_inner().map_err(|error| error.into_error())?;
        match destination {
            Destination::Beside {
                temporary,
                target,
                before,
            } => {
                if let Some(before) = before {
                    take_after(&file, &before)?;
                }
                file.sync_all()?;
                temporary.persist(&target).map_err(kept)?;
                sync_folder(folder_of(&target));
            }
            Destination::Into(target) => {
                file.seek(SeekFrom::Start(0))?;
                let mut into = OpenOptions::new().write(true).open(target)?;
                io::copy(&mut file, &mut into)?;
            }
        }
        Ok(())
    }
}

/// Gives a file the permissions of the file that it replaces, and its owner if that is allowed.
#[cfg(unix)]
fn take_after(file: &File, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
        let _ = fchown(file, Some(before.uid()), Some(before.gid()));
    }
    file.set_permissions(before.permissions())
}

#[cfg(not(unix))]
fn take_after(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Keeps a finished file that could not be moved, under a name that is not taken for an unfinished one.
fn kept(error: PathPersistError) -> io::Error {
    let PathPersistError { error, path } = error;
    let Ok(unfinished) = path.keep() else {
        return error;
    };
    io::Error::other(format!(
        "{error}; the finished file is {}",
        finished(unfinished).display()
    ))
}

/// Gives a finished output a name that is not taken for an unfinished one, and returns its path.
pub(crate) fn finished(unfinished: PathBuf) -> PathBuf {
    let name = unfinished.file_name().unwrap_or_default().to_string_lossy();
    let name = name.replacen(TEMPORARY_PREFIX, FINISHED_PREFIX, 1);
    let finished = unfinished.with_file_name(name);
    match fs::rename(&unfinished, &finished) {
        Ok(()) => finished,
        Err(_) => unfinished,
    }
}

/// Flushes changes of names to the disk, if the system supports it.
pub(crate) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for OutputFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.flush()?;
        self.file.get_mut().read(bytes)
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Writes `bytes` as an [`OutputFile`].
///
/// # Errors
/// Errors of the system; an existing file at `path` is then unchanged.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let mut file = OutputFile::create(path)?;
    file.write_all(bytes)?;
    file.persist()
}

/// Fails if an [`OutputFile`] could not be written, as far as this can be known in advance: `path` is a folder, its
/// name is too long, its folder cannot be written, or an existing file cannot be replaced. Missing parent folders are
/// created.
///
/// # Errors
/// Errors of the system.
pub fn check_writable(path: impl AsRef<Path>) -> io::Result<()> {
    match Place::of_file(path.as_ref())? {
        Place::Into(target) => check_may_write(&target),
        Place::Beside { target, before } => {
            fs::create_dir_all(folder_of(&target))?;
            drop(file_in(folder_of(&target), true)?);
            match before {
                Some(_) => check_replaceable(&target),
                // The folder may not have existed before to report that the name is too long.
                None => follow(&target).map(drop),
            }
        }
    }
}

/// Whether a pipe or device may be written. It is not opened, because that would wait for a reader.
#[cfg(unix)]
fn check_may_write(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(not(unix))]
fn check_may_write(_: &Path) -> io::Result<()> {
    Ok(())
}
