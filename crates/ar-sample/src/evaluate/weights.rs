//! The files with the weights of published networks, which are the user's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use ar_files::ContentHash;
use clap::ValueEnum;

use super::metrics::Metric;
use super::network::Network;

/// `NETWORK=FILE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WeightsFile {
    network: Network,
    path: PathBuf,
}

impl FromStr for WeightsFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('=').and_then(|(name, path)| {
            let network = Network::from_str(name, false).ok()?;
            (!path.is_empty()).then(|| Self {
                network,
                path: path.into(),
            })
        });
        parsed.ok_or_else(|| {
            let names: Vec<String> = Network::value_variants().iter().map(|n| n.name()).collect();
            format!(
                "expected NETWORK=FILE, and a network is {}",
                names.join(", ")
            )
        })
    }
}

/// The files that the user gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights(BTreeMap<Network, PathBuf>);

impl Weights {
    /// Of several files for a network the last counts.
    pub(super) fn new(files: &[WeightsFile]) -> Self {
        let files = files.iter().cloned();
        Self(files.map(|file| (file.network, file.path)).collect())
    }

    /// Whether all that a metric looks through is there.
    pub(super) fn suffice(&self, metric: Metric) -> bool {
        let mut networks = metric.networks().iter();
        networks.all(|network| self.0.contains_key(network))
    }

    /// Keeps the files that `metrics` need.
    ///
    /// # Errors
    /// If one is not given.
    pub(super) fn for_metrics(mut self, metrics: &[Metric]) -> anyhow::Result<Self> {
        let needed = || metrics.iter().flat_map(|metric| metric.networks());
        for metric in metrics {
            for network in metric.networks() {
                self.0.get(network).with_context(|| {
                    format!(
                        "--metrics: `{}` takes the weights of a published network: \
                         --weights {}=FILE ({})",
                        metric.name(),
                        network.name(),
                        network.published()
                    )
                })?;
            }
        }
        self.0.retain(|network, _| needed().any(|n| n == network));
        Ok(self)
    }

    /// The file of a network that a metric needs.
    pub(super) fn path(&self, network: Network) -> &Path {
        &self.0[&network]
    }

    /// By network a number that tells its file from others.
    pub(super) fn fingerprints(&self) -> anyhow::Result<BTreeMap<Network, String>> {
        let files = self.0.iter();
        files
            .map(|(network, path)| {
                let fingerprint = ContentHash::EMPTY
                    .and_file(path)
                    .with_context(|| format!("{}: cannot read", path.display()))?;
                Ok((*network, fingerprint.to_string()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_network_and_its_file() {
        let file: WeightsFile = "inception-v3=a=b.pth".parse().expect("a file");
        assert_eq!(file.network, Network::InceptionV3);
        assert_eq!(file.path, Path::new("a=b.pth"));
        for wrong in ["i3d", "i3d=", "i4d=a.pt", "=a.pt"] {
            let error = wrong.parse::<WeightsFile>().expect_err(wrong);
            assert!(error.contains("i3d, inception-v3"), "{error}");
        }
    }

    #[test]
    fn metrics_need_their_networks() {
        let weights =
            Weights::new(&["lpips=l.pth", "i3d=i.pt"].map(|t| t.parse().expect("a file")));
        assert!(weights.suffice(Metric::Fvd) && weights.suffice(Metric::Psnr));
        assert!(!weights.suffice(Metric::Lpips));
        let error = weights.clone().for_metrics(&[Metric::Fvd, Metric::Lpips]);
        let message = error.expect_err("no VGG16").to_string();
        assert!(message.contains("--weights vgg16=FILE"), "{message}");
        let kept = weights.for_metrics(&[Metric::Fvd]).expect("all there");
        assert_eq!(kept.0.len(), 1);
    }
}
