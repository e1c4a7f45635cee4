//! The published networks that metrics use; the user provides their weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ar_files::ContentHash;

use crate::EvaluationError;

/// A published network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The name in options, such as `inception-v3`.
    pub name: &'static str,
    /// A file with its weights, as published.
    pub published: &'static str,
}

/// The files of all networks that an evaluation uses.
#[derive(Clone, Debug, Default)]
pub struct NetworkFiles(BTreeMap<&'static str, PathBuf>);

impl NetworkFiles {
    /// If there are several files for a network, the last one is used.
    pub(crate) fn new(files: impl IntoIterator<Item = (Network, PathBuf)>) -> Self {
        let files = files.into_iter();
        Self(files.map(|(network, path)| (network.name, path)).collect())
    }

    /// Whether there are weights for a network.
    pub(crate) fn contains(&self, network: &Network) -> bool {
        self.0.contains_key(network.name)
    }

    /// Only the files of these networks.
    pub(crate) fn only(mut self, networks: &[Network]) -> Self {
        self.0
            .retain(|name, _| networks.iter().any(|network| network.name == *name));
        self
    }

    /// The weights of a network that a metric needs.
    ///
    /// # Panics
    /// If the metric does not list it among its [`networks`](crate::MetricInfo::networks).
    pub fn path(&self, network: &Network) -> &Path {
        match self.0.get(network.name) {
            Some(path) => path,
            None => panic!("{} is not among the metric's networks", network.name),
        }
    }

    /// The content hash of each network's file.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(crate) fn fingerprints(&self) -> Result<BTreeMap<&'static str, String>, EvaluationError> {
        let files = self.0.iter();
        files
            .map(|(network, path)| {
                let fingerprint = ContentHash::EMPTY
                    .and_file(path)
                    .map_err(EvaluationError::read(path))?;
                Ok((*network, fingerprint.to_string()))
            })
            .collect()
    }
}
