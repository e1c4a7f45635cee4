//! Outputs that exist under a temporary name until they are complete.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ar_files::{temporary_file_beside, temporary_folder_beside};
use tempfile::{NamedTempFile, TempDir};

use crate::VideoError;

/// A file that is written beside its path and moved there when complete.
pub(super) struct OutputFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl OutputFile {
    /// Makes the missing folders above `path` and the temporary file.
    pub(super) fn create(path: &Path) -> Result<Self, VideoError> {
        if path.is_dir() {
            return Err(VideoError::encode(path, "this is a folder, not a file"));
        }
        let file = temporary_file_beside(path).map_err(|e| VideoError::io(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file at its path, atomically, once it is on the disk.
    pub(super) fn persist(self) -> Result<(), VideoError> {
        let Self { path, file } = self;
        let io = |e| VideoError::io(&path, e);
        let file = file.into_inner().map_err(|e| io(e.into_error()))?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
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

/// A folder that is filled beside its path and moved there when complete. It may replace a folder
/// that holds nothing but frames.
pub(super) struct OutputFolder {
    path: PathBuf,
    folder: TempDir,
}

impl OutputFolder {
    /// Makes the missing folders above `path` and the temporary folder.
    pub(super) fn create(path: &Path) -> Result<Self, VideoError> {
        check_replaceable(path)?;
        let folder = temporary_folder_beside(path).map_err(|e| VideoError::io(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            folder,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in the folder.
    pub(super) fn create_file(&self, name: &str) -> Result<BufWriter<File>, VideoError> {
        let file = File::create(self.folder.path().join(name));
        file.map(BufWriter::new)
            .map_err(|e| VideoError::io(&self.path, e))
    }

    /// Puts the folder at its path. A folder that was there is moved away first and deleted last.
    pub(super) fn persist(self) -> Result<(), VideoError> {
        let Self { path, folder } = self;
        let io = |e| VideoError::io(&path, e);
        check_replaceable(&path)?;
        if !path.exists() {
            fs::rename(folder.path(), &path).map_err(io)?;
            let _moved = folder.keep();
            return Ok(());
        }
        let trash = temporary_folder_beside(&path).map_err(io)?;
        let old = trash.path().join("old");
        fs::rename(&path, &old).map_err(io)?;
        if let Err(e) = fs::rename(folder.path(), &path) {
            fs::rename(&old, &path).map_err(io)?;
            return Err(io(e));
        }
        let _moved = folder.keep();
        trash.close().map_err(io)
    }
}

/// An error if `path` holds anything but files `frame_*.png`.
fn check_replaceable(path: &Path) -> Result<(), VideoError> {
    let io = |e| VideoError::io(path, e);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(VideoError::encode(
                path,
                "there is a file where a folder of images goes",
            ));
        }
        Err(e) => return Err(io(e)),
    };
    for entry in entries {
        let entry: OsString = entry.map_err(io)?.file_name();
        let name = entry.as_encoded_bytes();
        if !(name.starts_with(b"frame_") && name.ends_with(b".png")) {
            return Err(VideoError::FolderInUse {
                path: path.to_owned(),
                entry,
            });
        }
    }
    Ok(())
}
