use std::path::PathBuf;
use std::str::FromStr;

use crate::{METRICS, Network};

/// A network and the file with its weights, `NETWORK=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// The network.
    pub network: Network,
    /// Its weights.
    pub path: PathBuf,
}

impl FromStr for NetworkFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('=').and_then(|(name, path)| {
            let network = networks().find(|network| network.name == name)?;
            (!path.is_empty()).then(|| Self {
                network,
                path: path.into(),
            })
        });
        parsed.ok_or_else(|| {
            let names: Vec<&str> = networks().map(|network| network.name).collect();
            format!(
                "expected NETWORK=FILE, and a network is {}",
                names.join(", ")
            )
        })
    }
}

/// The networks of all metrics.
fn networks() -> impl Iterator<Item = Network> {
    METRICS.iter().flat_map(|metric| metric.networks()).copied()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn reads_a_network_and_its_file() {
        let file: NetworkFile = "inception-v3=a=b.pth".parse().expect("a file");
        assert_eq!(file.network.name, "inception-v3");
        assert_eq!(file.path, Path::new("a=b.pth"));
        for wrong in ["i3d", "i3d=", "i4d=a.pt", "=a.pt"] {
            let error = wrong.parse::<NetworkFile>().expect_err(wrong);
            assert!(error.contains("i3d, inception-v3"), "{error}");
        }
    }
}
