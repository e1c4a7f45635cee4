//! Files of published weights: the user's own, or on the Hugging Face hub.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::BoxError;

/// What the name of a file on the hub begins with.
const HUB: &str = "hf://";

/// A file of weights: a path, or `hf://OWNER/NAME/FILE` for a file of a model on the Hugging Face
/// hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WeightsLocation {
    /// A file of this machine.
    Local(PathBuf),
    /// A file on the hub.
    Hub {
        /// `OWNER/NAME`
        repository: String,
        /// Its path inside.
        file: String,
    },
}

impl WeightsLocation {
    /// Where the file lies; one on the hub is downloaded unless it is in the hub's cache.
    ///
    /// # Errors
    /// If the download fails, or this build has no feature `hub`. That a local file is there is not
    /// checked.
    pub fn path(&self) -> Result<PathBuf, BoxError> {
        match self {
            Self::Local(path) => Ok(path.clone()),
            Self::Hub { repository, file } => download(repository, file)
                .map_err(|error| format!("cannot download {self}: {error}").into()),
        }
    }
}

#[cfg(feature = "hub")]
fn download(repository: &str, file: &str) -> Result<PathBuf, BoxError> {
    let api = hf_hub::api::sync::ApiBuilder::from_env().build()?;
    Ok(api.model(repository.to_owned()).get(file)?)
}

#[cfg(not(feature = "hub"))]
fn download(_repository: &str, _file: &str) -> Result<PathBuf, BoxError> {
    Err("this program was built without the feature `hub`; give the path of a file".into())
}

impl TryFrom<String> for WeightsLocation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some(name) = text.strip_prefix(HUB) else {
            return Ok(Self::Local(PathBuf::from(text)));
        };
        let parts: Vec<&str> = name.splitn(3, '/').collect();
        match parts[..] {
            [owner, name, file] if parts.iter().all(|part| !part.is_empty()) => Ok(Self::Hub {
                repository: format!("{owner}/{name}"),
                file: file.to_owned(),
            }),
            _ => Err(format!(
                "{text} is no file of the hub: hf://OWNER/NAME/FILE"
            )),
        }
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
        let parse = |text: &str| WeightsLocation::try_from(text.to_owned());
        assert_eq!(
            parse("weights/vgg.pth"),
            Ok(WeightsLocation::Local("weights/vgg.pth".into()))
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
