//! Outputs whose errors name them.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::VideoError;

/// A file that appears at its path when it is complete; see [`ar_files::OutputFile`].
pub(super) struct OutputFile {
    path: PathBuf,
    file: ar_files::OutputFile,
}

impl OutputFile {
    pub(super) fn create(path: &Path) -> Result<Self, VideoError> {
        let file = ar_files::OutputFile::create(path).map_err(|e| VideoError::io(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn persist(self) -> Result<(), VideoError> {
        let Self { path, file } = self;
        file.persist().map_err(|e| VideoError::io(&path, e))
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
        self.file.read(bytes)
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A folder of frames that appears at its path when it is complete; see [`ar_files::OutputFolder`].
pub(super) struct OutputFolder {
    path: PathBuf,
    folder: ar_files::OutputFolder,
}

impl OutputFolder {
    pub(super) fn create(path: &Path) -> Result<Self, VideoError> {
        let folder = ar_files::OutputFolder::create(path, is_frame);
        Ok(Self {
            path: path.to_owned(),
            folder: folder.map_err(|e| VideoError::io(path, e))?,
        })
    }

    pub(super) fn check(path: &Path) -> Result<(), VideoError> {
        ar_files::OutputFolder::check(path, is_frame).map_err(|e| VideoError::io(path, e))
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

    pub(super) fn persist(self) -> Result<(), VideoError> {
        let Self { path, folder } = self;
        folder.persist().map_err(|e| VideoError::io(&path, e))
    }
}

/// Whether a folder that contains this may be replaced.
fn is_frame(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"frame_") && name.ends_with(b".png")
}

/// A pipe or device. It is opened only when there is something to write, because opening a pipe
/// waits for its reader.
pub(super) struct Pipe {
    path: PathBuf,
    file: Option<File>,
}

impl Pipe {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&self.path)?,
        };
        self.file.insert(file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
