//! Temporary files and folders. The process that writes one holds a lock on it, so that leftovers of killed processes
//! can be distinguished from files in progress, and be removed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tempfile::{Builder, NamedTempFile, TempDir};

/// The prefix of names of temporary files and folders. They are hidden, so that listings do not take them for results
/// if the process is killed.
pub const TEMPORARY_PREFIX: &str = ".unfinished-";

/// A younger one may not be locked yet.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// An empty temporary file in `folder`, with the usual permissions or for its owner only.
pub(crate) fn file_in(folder: &Path, is_private: bool) -> io::Result<NamedTempFile> {
    clean_once(folder);
    // Until it is registered, so that `remove_unfinished` misses none.
    let mut filled = filled();
    let file = builder(if is_private { 0o600 } else { 0o666 })
        .tempfile_in(folder)
        .map_err(without_name)?;
    lock(file.as_file());
    register(&mut filled, file.path());
    Ok(file)
}

/// What this process is writing, or has written.
static FILLED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn filled() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A path is in the set or not.
    FILLED.lock().unwrap_or_else(|e| e.into_inner())
}

fn register(filled: &mut BTreeSet<PathBuf>, path: &Path) {
    /// From this number on, entries that no longer exist are removed.
    const MANY: usize = 256;
    if filled.len() >= MANY {
        filled.retain(|path| path.exists());
    }
    // The process may change its folder.
    filled.insert(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
}

/// Keeps this process from making temporary files and folders.
#[derive(Debug)]
pub struct NoneUnfinished {
    _filled: MutexGuard<'static, BTreeSet<PathBuf>>,
}

/// Removes the temporary files and folders that this process is writing, for a process that ends without dropping its
/// values. As long as the result exists, no new ones are created.
pub fn remove_unfinished() -> NoneUnfinished {
    let mut filled = filled();
    for path in std::mem::take(&mut *filled) {
        // A file that already has its final name is no longer at this path.
        if path.is_dir() {
            remove_while_filled(&path);
        } else {
            let _ = fs::remove_file(path);
        }
    }
    NoneUnfinished { _filled: filled }
}

/// Removes a folder into which another thread may still be writing files.
fn remove_while_filled(folder: &Path) {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for the end of the process if another thread has [removed](remove_unfinished) what this one was writing, whose
/// errors are then of no interest.
pub fn wait_if_ending() {
    drop(filled());
}

/// An empty temporary folder with the usual permissions, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct TemporaryFolder {
    folder: TempDir,
    _lock: Option<File>,
}

impl TemporaryFolder {
    /// One for what is new.
    pub(crate) fn new_in(folder: &Path) -> io::Result<Self> {
        let mut filled = filled();
        let new = Self::for_old_in(folder)?;
        register(&mut filled, new.path());
        Ok(new)
    }

    /// A hidden path for what was there before, which [`remove_unfinished`] must not remove.
    pub(crate) fn for_old_in(folder: &Path) -> io::Result<Self> {
        clean_once(folder);
        let folder = builder(0o777).tempdir_in(folder).map_err(without_name)?;
        let handle = if cfg!(unix) {
            File::open(folder.path()).ok()
        } else {
            None
        };
        if let Some(handle) = &handle {
            lock(handle);
        }
        Ok(Self {
            folder,
            _lock: handle,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps it from being removed.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    pub(crate) fn close(self) -> io::Result<()> {
        self.folder.close()
    }
}

/// The error from the system, without the temporary name, which the user does not know.
fn without_name(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((system, _)) => io::Error::new(error.kind(), system.to_owned()),
        None => error,
    }
}

/// Locks the file until the process ends, however it ends. On file systems without locks, there is none.
fn lock(file: &File) {
    if cfg!(unix) {
        let _ = file.try_lock();
    }
}

/// Temporary files are private by default; these get other permissions, reduced by the umask.
fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    builder
}

/// Calls [`remove_abandoned`] the first time that this process writes to `folder`. Leftovers that cannot be removed do
/// no harm.
fn clean_once(folder: &Path) {
    static CLEANED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let Ok(folder) = folder.canonicalize() else {
        return;
    };
    let mut cleaned = CLEANED.lock().unwrap_or_else(|e| e.into_inner());
    if cleaned.insert(folder.clone()) {
        drop(cleaned);
        let _ = remove_abandoned(&folder);
    }
}

/// Removes the temporary files and folders in `folder` that no process is writing.
fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name
            .as_encoded_bytes()
            .starts_with(TEMPORARY_PREFIX.as_bytes())
        {
            continue;
        }
        let metadata = entry.metadata()?;
        let is_old = metadata
            .modified()?
            .elapsed()
            .is_ok_and(|age| age > LEFT_ALONE);
        // On other systems there are no locks.
        if !cfg!(unix) || !is_old || metadata.is_symlink() {
            continue;
        }
        let Ok(handle) = File::open(entry.path()) else {
            continue;
        };
        if handle.try_lock().is_err() {
            continue;
        }
        let _ = if metadata.is_dir() {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn errors_do_not_name_temporary_files() {
        let gone = tempfile::tempdir().expect("a folder").path().join("gone");
        let errors = [
            file_in(&gone, true).err(),
            TemporaryFolder::new_in(&gone).err(),
        ];
        for error in errors.map(|error| error.expect("no folder")) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert!(!error.to_string().contains(TEMPORARY_PREFIX), "{error}");
        }
    }

    #[test]
    fn what_a_process_fills_is_removed_at_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        // In a process of its own: other tests fill files, too.
        if let Some(place) = std::env::var_os("AR_TEST_UNFINISHED") {
            let place = Path::new(&place);
            let mut finished = crate::OutputFile::create(place.join("finished")).expect("a file");
            io::Write::write_all(&mut finished, b"all").expect("written");
            finished.persist().expect("moved");
            let file = file_in(place, false).expect("a file");
            let made = TemporaryFolder::new_in(place).expect("a folder");
            fs::write(made.path().join("frame"), "").expect("a file");
            let old = TemporaryFolder::for_old_in(place).expect("a folder");
            // As a process that exits.
            std::mem::forget((file, made, old));
            let _none = remove_unfinished();
            return;
        }
        let child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args([
                "--exact",
                "temporary::tests::what_a_process_fills_is_removed_at_its_end",
            ])
            .env("AR_TEST_UNFINISHED", folder.path())
            .output();
        assert!(child.expect("an end").status.success());
        let names = fs::read_dir(folder.path()).expect("a list");
        let names: Vec<_> = names.map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(fs::read(path("finished")).expect("the file"), b"all");
        // The one for what was there.
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn only_what_nobody_fills_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let old = SystemTime::now() - Duration::from_secs(3600);
        let age = |path: &Path| {
            let file = File::open(path).expect("it opens");
            file.set_modified(old).expect("an age");
        };
        let owned = file_in(folder.path(), false).expect("a file");
        let owned_folder = TemporaryFolder::new_in(folder.path()).expect("a folder");
        fs::write(path(".unfinished-young"), "").expect("a file");
        for name in [".unfinished-old", "result.mp4", ".finished-x"] {
            fs::write(path(name), "").expect("a file");
            age(&path(name));
        }
        fs::create_dir(path(".unfinished-folder")).expect("a folder");
        fs::write(path(".unfinished-folder/frame"), "").expect("a file");
        age(&path(".unfinished-folder"));
        age(owned.path());
        age(owned_folder.path());

        remove_abandoned(folder.path()).expect("removed");
        for gone in [".unfinished-old", ".unfinished-folder"] {
            assert!(!path(gone).exists(), "{gone}");
        }
        for kept in [".unfinished-young", "result.mp4", ".finished-x"] {
            assert!(path(kept).exists(), "{kept}");
        }
        assert!(owned.path().exists() && owned_folder.path().exists());
    }
}
