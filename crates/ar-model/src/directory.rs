//! Model directories: written as a whole, and read back exactly as they were written.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ar_files::{
    CHECKSUMS, Integrity, MOST_TEXT, OutputFolder, check_regular, read_text, seal_folder,
    verify_in_folder,
};
use ar_weights::{Checkpoint, WeightsSource};

use crate::{ModelConfig, ModelError};

/// The folder of the model within the folder of a run.
const MODEL_OF_RUN: &str = "model";

/// The paths of a model's files.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// `config.toml`
    pub config: PathBuf,
    /// `transformer.safetensors`
    pub transformer: PathBuf,
    /// `vae.safetensors`
    pub vae: PathBuf,
}

impl ModelFiles {
    /// The files of the model directory `dir`.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        let dir = dir.as_ref();
        Self {
            config: dir.join("config.toml"),
            transformer: dir.join("transformer.safetensors"),
            vae: dir.join("vae.safetensors"),
        }
    }

    /// A note for the user if there are no checksums.
    pub fn note(&self) -> Option<String> {
        let dir = self.config.parent()?;
        let is_old = self.config.is_file() && !dir.join(CHECKSUMS).exists();
        is_old.then(|| {
            format!(
                "{} has no checksums, because an older version or another program wrote it: it is \
                 read without being checked",
                dir.display()
            )
        })
    }

    /// Reads `config.toml`.
    ///
    /// # Errors
    /// If the directory is not a model directory, or the file cannot be read.
    pub fn read_config(&self) -> Result<ModelConfig, ModelError> {
        self.check_folder()?;
        match check_regular(&self.config) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Err(ModelError::NotAModel {
                    path: self.config.parent().unwrap_or(&self.config).to_owned(),
                });
            }
            regular => regular.map_err(ModelError::io(&self.config))?,
        }
        verify(&self.config)?;
        let text = read_text(&self.config, MOST_TEXT).map_err(ModelError::io(&self.config))?;
        let parsed = text.parse();
        // A run and its checkpoints have a configuration of the same name.
        parsed.map_err(|error| self.run_folder().unwrap_or(error))
    }

    /// The error for the folder of a run or of a checkpoint.
    fn run_folder(&self) -> Option<ModelError> {
        let path = self.config.parent()?;
        let (what, model) = if path.join("checkpoints").is_dir() {
            ("the folder of a run", path.join(MODEL_OF_RUN))
        } else if path.join("state.toml").is_file() {
            let run = path.parent()?.parent()?;
            ("a checkpoint of a run", run.join(MODEL_OF_RUN))
        } else {
            return None;
        };
        Some(ModelError::RunFolder {
            path: path.to_owned(),
            what,
            model,
        })
    }
}

impl ModelFiles {
    /// Fails if there is a pipe or a device instead of the directory.
    fn check_folder(&self) -> Result<(), ModelError> {
        let dir = self.config.parent().unwrap_or(&self.config);
        match std::fs::metadata(dir) {
            Ok(metadata) if !metadata.is_dir() && !metadata.is_file() => {
                let message = "this is a pipe or a device, and a model is a folder";
                let source = std::io::Error::new(ErrorKind::NotADirectory, message);
                Err(ModelError::io(dir)(source))
            }
            _ => Ok(()),
        }
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write_config(&self, config: &ModelConfig) -> Result<(), ModelError> {
        std::fs::write(&self.config, config.to_toml()).map_err(ModelError::io(&self.config))
    }
}

/// Writes a model directory; `write` gets the paths of its files. The directory appears at `dir` when they are
/// complete, with their checksums, and replaces an existing one as a whole.
///
/// # Errors
/// The errors of `write`; or if an existing directory has other files than a model's, or cannot be replaced.
pub fn write_directory(
    dir: impl AsRef<Path>,
    write: impl FnOnce(&ModelFiles) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let dir = dir.as_ref();
    let output = OutputFolder::create(dir, is_of_model).map_err(ModelError::io(dir))?;
    // The user does not know the temporary folder that it is made in.
    write(&ModelFiles::new(output.path())).map_err(|error| error.moved(output.path(), dir))?;
    seal_folder(output.path())
        .and_then(|()| output.persist())
        .map_err(ModelError::io(dir))
}

/// Fails if a model directory could not be written, as far as this can be known in advance.
///
/// # Errors
/// If an existing directory has other files than a model's, or cannot be replaced.
pub fn check_directory(dir: impl AsRef<Path>) -> Result<(), ModelError> {
    let dir = dir.as_ref();
    OutputFolder::check(dir, is_of_model).map_err(ModelError::io(dir))
}

/// Checks a file of a model directory against its checksum.
///
/// # Errors
/// If it is damaged.
pub fn verify(file: impl AsRef<Path>) -> Result<Integrity, ModelError> {
    let file = file.as_ref();
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(OsStr::to_str))
    else {
        return Ok(Integrity::Unknown);
    };
    verify_in_folder(folder, name).map_err(ModelError::damaged(file))
}

/// Checks a checkpoint against the checksum beside it, if there is one, and opens it without reading its values yet.
///
/// # Errors
/// If it is damaged, cannot be read, or has no tensors.
pub fn open_checkpoint(file: impl AsRef<Path>) -> Result<Checkpoint, ModelError> {
    verify(&file)?;
    Ok(Checkpoint::open(WeightsSource::File(file.as_ref()))?)
}

fn is_of_model(name: &OsStr) -> bool {
    let ModelFiles {
        config,
        transformer,
        vae,
    } = ModelFiles::new("");
    [config, transformer, vae, CHECKSUMS.into()]
        .iter()
        .any(|file| file.as_os_str() == name)
}
