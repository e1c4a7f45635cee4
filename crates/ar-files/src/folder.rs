use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::output::{finished, sync_folder};
use crate::place::{check_replaceable, folder_of, follow};
use crate::temporary::{TemporaryFolder, file_in};

/// A folder that is being written. [`persist`](Self::persist) moves the complete folder to its
/// path, and replaces an existing one. If it is dropped before, it leaves nothing. Links are
/// followed.
///
/// It replaces a folder only if the names of all files in it are `ours`, so that no other files are
/// lost.
#[derive(Debug)]
pub struct OutputFolder {
    target: PathBuf,
    ours: fn(&OsStr) -> bool,
    folder: TemporaryFolder,
}

impl OutputFolder {
    /// Starts the folder. Missing parent folders are created.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn create(path: impl AsRef<Path>, ours: fn(&OsStr) -> bool) -> io::Result<Self> {
        let target = target(path.as_ref(), ours)?;
        fs::create_dir_all(folder_of(&target))?;
        Ok(Self {
            folder: TemporaryFolder::new_in(folder_of(&target))?,
            target,
            ours,
        })
    }

    /// Fails if the folder could not be written, as far as this can be known in advance. Missing
    /// parent folders are created.
    ///
    /// # Errors
    /// Errors of the system, or if a file is in the way, or an existing folder contains other files
    /// or is the working directory of the process.
    pub fn check(path: impl AsRef<Path>, ours: fn(&OsStr) -> bool) -> io::Result<()> {
        let target = target(path.as_ref(), ours)?;
        fs::create_dir_all(folder_of(&target))?;
        drop(file_in(folder_of(&target), true)?);
        if target.exists() {
            check_replaceable(&target)
        } else {
            follow(&target).map(drop)
        }
    }

    /// Where to put the files.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves the folder to its path when its files are on the disk.
    ///
    /// # Errors
    /// Errors of the system, or if other files have appeared in the existing folder. If the
    /// complete folder cannot be moved to its path, it is kept, and the message names it.
    pub fn persist(self) -> io::Result<()> {
        sync_below(self.path())?;
        let moved = check_ours(&self.target, self.ours).and_then(|()| self.exchange());
        if let Err(error) = moved {
            let place = finished(self.folder.keep());
            return Err(io::Error::other(format!(
                "{error}; the finished folder is {}",
                place.display()
            )));
        }
        sync_folder(folder_of(&self.target));
        // The previous folder is now at our temporary path.
        if self.path().exists() {
            return self.folder.close();
        }
        self.folder.keep();
        Ok(())
    }

    /// Exchanges the folder with the one at its path.
    fn exchange(&self) -> io::Result<()> {
        let (ours, target) = (self.path(), self.target.as_path());
        if !target.exists() {
            return fs::rename(ours, target);
        }
        if exchange(ours, target).is_ok() {
            return Ok(());
        }
        // In two steps, if the system cannot exchange them.
        let aside = TemporaryFolder::for_old_in(folder_of(target))?;
        let old = aside.path().join("old");
        fs::rename(target, &old)?;
        if let Err(error) = fs::rename(ours, target) {
            fs::rename(&old, target)?;
            return Err(error);
        }
        aside.close()
    }
}

/// Renames a folder before removing it, since a half-removed folder would be taken for a complete
/// one.
///
/// # Errors
/// Errors of the system.
pub fn remove_folder(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let aside = TemporaryFolder::new_in(folder_of(path))?;
    fs::rename(path, aside.path().join("removed"))?;
    aside.close()
}

#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The path of the folder, if it may be written.
fn target(path: &Path, ours: fn(&OsStr) -> bool) -> io::Result<PathBuf> {
    let target = follow(path)?;
    check_ours(&target, ours)?;
    // By its real name, because `.` cannot be renamed.
    let Ok(target) = target.canonicalize() else {
        return Ok(target);
    };
    let current = std::env::current_dir().and_then(|folder| folder.canonicalize());
    if current.is_ok_and(|current| current.starts_with(&target)) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the command runs in this folder, and would replace it",
        ));
    }
    Ok(target)
}

/// Fails if it is not a folder, or contains anything that is not ours.
fn check_ours(folder: &Path, ours: fn(&OsStr) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(io::Error::new(
                error.kind(),
                "there is a file where the folder should be",
            ));
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        if !ours(&name) {
            let message = format!(
                "the folder there holds {}, which is not part of the output and would be lost",
                name.display()
            );
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, message));
        }
    }
    Ok(())
}

/// Waits until the files below `folder` are on the disk.
fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_below(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder);
    Ok(())
}
