use std::fmt;
use std::path::{Path, PathBuf};

use ar_files::ContentHash;
use ar_model::{ModelConfig, ModelError, ModelFiles, VideoModel, open_checkpoint};
use ar_weights::{Checkpoint, WeightsSource};
use burn::tensor::Device;

use crate::PipelineError;
use crate::built_in::{CONFIG, TRANSFORMER, VAE};

/// Where a model comes from. It displays as what to call it in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSource {
    /// The model in the box, of the world of bouncing shapes.
    #[default]
    BuiltIn,
    /// A model directory.
    Directory(PathBuf),
}

/// What the model in the box is called where a path is expected.
const BUILT_IN: &str = "built-in";

impl ModelSource {
    /// The weights of the transformer, which are not read yet.
    ///
    /// # Errors
    /// If there are none.
    pub fn transformer(&self) -> Result<Checkpoint, PipelineError> {
        self.open("transformer.safetensors", TRANSFORMER, |files| {
            files.transformer
        })
    }

    /// The weights of the VAE, which are not read yet.
    ///
    /// # Errors
    /// If there are none.
    pub fn vae(&self) -> Result<Checkpoint, PipelineError> {
        self.open("vae.safetensors", VAE, |files| files.vae)
    }

    fn open(
        &self,
        name: &str,
        built_in: &[u8],
        file: impl FnOnce(ModelFiles) -> PathBuf,
    ) -> Result<Checkpoint, PipelineError> {
        Ok(match self {
            Self::BuiltIn => {
                Checkpoint::open(WeightsSource::Bytes(name, built_in)).map_err(ModelError::from)?
            }
            Self::Directory(path) => open_checkpoint(file(ModelFiles::new(path)))?,
        })
    }

    /// The configuration, which is enough to check options before the model is loaded.
    ///
    /// # Errors
    /// If there is none, or it describes no model.
    pub fn config(&self) -> Result<ModelConfig, PipelineError> {
        match self {
            Self::BuiltIn => CONFIG.parse().map_err(|source| PipelineError::Config {
                name: self.name(),
                source,
            }),
            Self::Directory(path) => {
                let files = ModelFiles::new(path);
                files.read_config().map_err(|source| match source {
                    // These name the path themselves.
                    ModelError::NotAModel { .. }
                    | ModelError::Io { .. }
                    | ModelError::Damaged { .. } => source.into(),
                    source => PipelineError::Config {
                        name: files.config.display().to_string(),
                        source,
                    },
                })
            }
        }
    }

    /// What is to be told about the files of a model that nothing says are as they were written.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::BuiltIn => None,
            Self::Directory(path) => ModelFiles::new(path).note(),
        }
    }

    /// The whole model.
    ///
    /// # Errors
    /// If a file is missing, damaged, or does not fit the configuration.
    pub fn load(&self, device: &Device) -> Result<VideoModel, PipelineError> {
        match self {
            Self::BuiltIn => {
                let model = VideoModel::from_bytes(CONFIG, TRANSFORMER, VAE, device);
                model.map_err(|source| PipelineError::Config {
                    name: self.name(),
                    source,
                })
            }
            Self::Directory(path) => Ok(VideoModel::load(path, device)?),
        }
    }

    /// A hash of the contents of the model's files, for different models may have one name.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn content_hash(&self) -> Result<ContentHash, PipelineError> {
        let path = match self {
            Self::BuiltIn => {
                let files = [CONFIG.as_bytes(), TRANSFORMER, VAE];
                return Ok(files.into_iter().fold(ContentHash::EMPTY, ContentHash::and));
            }
            Self::Directory(path) => path,
        };
        let ModelFiles {
            config,
            transformer,
            vae,
        } = ModelFiles::new(path);
        let mut hash = ContentHash::EMPTY;
        for file in [config, transformer, vae].iter().filter(|f| f.is_file()) {
            hash = hash.and_file(file).map_err(PipelineError::io(file))?;
        }
        Ok(hash)
    }

    fn name(&self) -> String {
        match self {
            Self::BuiltIn => "the built-in model".into(),
            Self::Directory(path) => path.display().to_string(),
        }
    }
}

/// A model directory, or the model in the box, which is called `built-in`.
impl<P: AsRef<Path> + ?Sized> From<&P> for ModelSource {
    fn from(path: &P) -> Self {
        let path = path.as_ref();
        if path == Path::new(BUILT_IN) {
            Self::BuiltIn
        } else {
            Self::Directory(path.to_owned())
        }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}
