use std::fmt;
use std::path::{Path, PathBuf};

use ar_files::ContentHash;
use ar_model::{ModelConfig, ModelError, ModelFiles, NetworkKind, VideoModel, open_checkpoint};
use ar_weights::{Checkpoint, WeightsLocation, WeightsSource, names_weights};
use burn::tensor::Device;

use crate::PipelineError;
use crate::built_in::{CONFIG, TRANSFORMER, VAE};

/// Where a model comes from. It displays as its name in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSource {
    /// The built-in model of the world of bouncing shapes.
    #[default]
    BuiltIn,
    /// A model directory.
    Directory(PathBuf),
    /// A model directory on the Hugging Face hub, `hf://OWNER/NAME` or `hf://OWNER/NAME/FOLDER`. Its
    /// files are downloaded when they are needed, if this build has the feature `hub`.
    Hub(String),
}

/// Name of the built-in model where a path is expected.
const BUILT_IN: &str = "built-in";

/// The prefix of names of models on the hub.
const HUB: &str = "hf://";

const CONFIG_FILE: &str = "config.toml";
const TRANSFORMER_FILE: &str = "transformer.safetensors";
const VAE_FILE: &str = "vae.safetensors";

impl ModelSource {
    /// The weights of the transformer, which are not yet read.
    ///
    /// # Errors
    /// If there are none.
    pub fn transformer(&self) -> Result<Checkpoint, PipelineError> {
        self.open(TRANSFORMER_FILE, TRANSFORMER)
    }

    /// The weights of the VAE, which are not yet read.
    ///
    /// # Errors
    /// If there are none.
    pub fn vae(&self) -> Result<Checkpoint, PipelineError> {
        self.open(VAE_FILE, VAE)
    }

    fn open(&self, name: &str, built_in: &[u8]) -> Result<Checkpoint, PipelineError> {
        Ok(match self.folder(&[name])? {
            None => {
                Checkpoint::open(WeightsSource::Bytes(name, built_in)).map_err(ModelError::from)?
            }
            Some(folder) => open_checkpoint(folder.join(name))?,
        })
    }

    /// The folder of the model, with the files of these names as far as the model has them; None for the built-in
    /// model.
    fn folder(&self, names: &[&str]) -> Result<Option<PathBuf>, PipelineError> {
        let model = match self {
            Self::BuiltIn => return Ok(None),
            Self::Directory(path) => return Ok(Some(path.clone())),
            Self::Hub(model) => model.trim_end_matches('/'),
        };
        let mut folder = PathBuf::new();
        for name in names {
            let path = format!("{model}/{name}")
                .parse::<WeightsLocation>()?
                .path()?;
            folder = path.parent().unwrap_or(&path).to_owned();
        }
        Ok(Some(folder))
    }

    /// The folder with all files of the model.
    fn whole_folder(&self) -> Result<Option<PathBuf>, PipelineError> {
        let mut names = vec![CONFIG_FILE];
        if let Self::Hub(_) = self {
            let config = self.config()?;
            names.extend(config.transformer.map(|_| TRANSFORMER_FILE));
            names.extend(config.vae.map(|_| VAE_FILE));
        }
        self.folder(&names)
    }

    /// The configuration, which is enough to check options before the model is loaded.
    ///
    /// # Errors
    /// If there is none, or it is invalid.
    pub fn config(&self) -> Result<ModelConfig, PipelineError> {
        self.refuse_file()?;
        let Some(folder) = self.folder(&[CONFIG_FILE])? else {
            return CONFIG.parse().map_err(|source| PipelineError::Config {
                name: self.name(),
                source,
            });
        };
        let files = ModelFiles::new(folder);
        files.read_config().map_err(|source| match source {
            // These errors name the path themselves.
            ModelError::NotAModel { .. }
            | ModelError::RunFolder { .. }
            | ModelError::Io { .. }
            | ModelError::Damaged { .. } => source.into(),
            source => PipelineError::Config {
                name: files.config.display().to_string(),
                source,
            },
        })
    }

    /// Fails if the path is a file of weights.
    fn refuse_file(&self) -> Result<(), PipelineError> {
        let (is_file, kind) = match self {
            Self::BuiltIn => (false, None),
            Self::Directory(path) => {
                let is_file = path.is_file();
                let file = is_file.then(|| Checkpoint::open(WeightsSource::File(path)));
                let file = file.and_then(Result::ok);
                (is_file, file.as_ref().and_then(NetworkKind::of))
            }
            Self::Hub(model) => (names_weights(model), None),
        };
        if !is_file {
            return Ok(());
        }
        Err(PipelineError::FileOfWeights {
            name: self.name(),
            option: kind.unwrap_or(NetworkKind::Diffusion).import_option(),
        })
    }

    /// A note for the user if the model has no checksums to show that its files are intact.
    pub fn note(&self) -> Option<String> {
        match self {
            Self::BuiltIn | Self::Hub(_) => None,
            Self::Directory(path) => ModelFiles::new(path).note(),
        }
    }

    /// The whole model.
    ///
    /// # Errors
    /// If a file is missing, damaged, or does not fit the configuration.
    pub fn load(&self, device: &Device) -> Result<VideoModel, PipelineError> {
        self.refuse_file()?;
        match self.whole_folder()? {
            Some(folder) => Ok(VideoModel::load(folder, device)?),
            None => {
                let model = VideoModel::from_bytes(CONFIG, TRANSFORMER, VAE, device);
                model.map_err(|source| PipelineError::Config {
                    name: self.name(),
                    source,
                })
            }
        }
    }

    /// A content hash of the model's files, since different models may have the same name.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn content_hash(&self) -> Result<ContentHash, PipelineError> {
        let Some(path) = self.whole_folder()? else {
            let files = [CONFIG.as_bytes(), TRANSFORMER, VAE];
            return Ok(files.into_iter().fold(ContentHash::EMPTY, ContentHash::and));
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
            Self::Hub(model) => model.clone(),
        }
    }
}

/// A model directory, one on the hub (`hf://OWNER/NAME`), or the built-in model (`built-in`).
impl<P: AsRef<Path> + ?Sized> From<&P> for ModelSource {
    fn from(path: &P) -> Self {
        let path = path.as_ref();
        match path.to_str() {
            Some(BUILT_IN) => Self::BuiltIn,
            Some(text) if text.starts_with(HUB) => Self::Hub(text.to_owned()),
            _ => Self::Directory(path.to_owned()),
        }
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Hub(model) => f.write_str(model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        assert_eq!(ModelSource::from("built-in"), ModelSource::BuiltIn);
        let folder = ModelSource::Directory("models/built-in".into());
        assert_eq!(ModelSource::from("models/built-in"), folder);
        let hub = ModelSource::from("hf://owner/name/folder");
        assert_eq!(hub, ModelSource::Hub("hf://owner/name/folder".into()));
        assert_eq!(hub.to_string(), "hf://owner/name/folder");
        // A file of weights does not say how to sample, nor, often, which VAE to use.
        let file = ModelSource::from("hf://owner/name/model.safetensors");
        let error = file.config().expect_err("a file").to_string();
        let expected = "--transformer hf://owner/name/model.safetensors";
        assert!(error.contains(expected), "{error}");
        let error = ModelSource::from("hf://owner")
            .config()
            .expect_err("no name");
        assert!(error.to_string().contains("hf://OWNER/NAME"), "{error}");
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_hub_a_build_says_so() {
        let error = ModelSource::from("hf://owner/name").config();
        let error = error.expect_err("no feature").to_string();
        assert!(error.contains("without the feature `hub`"), "{error}");
    }
}
