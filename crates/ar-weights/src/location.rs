//! Files on this machine or on the Hugging Face hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The prefix of names of files on the hub.
const HUB: &str = "hf://";

/// A file: a path, or `hf://OWNER/NAME/FILE` for a file of a model on the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum WeightsLocation {
    /// A file on this machine.
    Local(PathBuf),
    /// A file on the hub.
    Hub {
        /// `OWNER/NAME`
        repository: String,
        /// Its path inside the repository.
        file: String,
    },
}

/// Whether a name has the extension of a file of weights. This distinguishes such a file from a
/// folder if it cannot be inspected.
pub fn names_weights(path: impl AsRef<Path>) -> bool {
    const ENDINGS: [&str; 5] = ["safetensors", "bin", "ckpt", "pt", "pth"];
    let extension = path.as_ref().extension();
    extension.is_some_and(|extension| ENDINGS.iter().any(|ending| extension == *ending))
}

/// A file that cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The name of a file on the hub is incomplete.
    #[error("{0} is not a file on the hub: hf://OWNER/NAME/FILE")]
    Name(String),
    /// A file cannot be downloaded from the hub.
    #[error("cannot download {location}: {reason}")]
    Download {
        /// The file.
        location: String,
        /// The reason.
        reason: String,
    },
}

impl WeightsLocation {
    /// The path of the file; a file on the hub is downloaded unless it is in the hub's cache.
    ///
    /// # Errors
    /// If the download fails, or this build has no feature `hub`. Whether a local file exists is
    /// not checked.
    pub fn path(&self) -> Result<PathBuf, LocationError> {
        match self {
            Self::Local(path) => Ok(path.clone()),
            Self::Hub { repository, file } => {
                download(repository, file).map_err(|reason| LocationError::Download {
                    location: self.to_string(),
                    reason,
                })
            }
        }
    }
}

#[cfg(feature = "hub")]
fn download(repository: &str, file: &str) -> Result<PathBuf, String> {
    let api = hf_hub::api::sync::ApiBuilder::from_env().build();
    let api = api.map_err(|error| error.to_string())?;
    let file = api.model(repository.to_owned()).get(file);
    file.map_err(|error| error.to_string())
}

#[cfg(not(feature = "hub"))]
fn download(_repository: &str, _file: &str) -> Result<PathBuf, String> {
    Err("this program was built without the feature `hub`; give the path of a file".into())
}

impl FromStr for WeightsLocation {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let Some(name) = text.strip_prefix(HUB) else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        let parts: Vec<&str> = name.splitn(3, '/').collect();
        match parts[..] {
            [owner, name, file] if parts.iter().all(|part| !part.is_empty()) => Ok(Self::Hub {
                repository: format!("{owner}/{name}"),
                file: file.to_owned(),
            }),
            _ => Err(LocationError::Name(text.to_owned())),
        }
    }
}

impl TryFrom<String> for WeightsLocation {
    type Error = LocationError;

    fn try_from(text: String) -> Result<Self, LocationError> {
        text.parse()
    }
}

impl From<WeightsLocation> for String {
    fn from(file: WeightsLocation) -> Self {
        file.to_string()
    }
}

impl fmt::Display for WeightsLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Hub { repository, file } => write!(f, "{HUB}{repository}/{file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_files_of_the_hub_are_told_apart() {
        let parse = |text: &str| text.parse::<WeightsLocation>();
        assert_eq!(
            parse("weights/vgg.pth").expect("a path"),
            WeightsLocation::Local("weights/vgg.pth".into())
        );
        let hub = parse("hf://owner/name/folder/vgg.pth").expect("a file of the hub");
        let expected = WeightsLocation::Hub {
            repository: "owner/name".into(),
            file: "folder/vgg.pth".into(),
        };
        assert_eq!(hub, expected);
        assert_eq!(hub.to_string(), "hf://owner/name/folder/vgg.pth");
        for text in ["hf://", "hf://owner/name", "hf://owner//vgg.pth"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
