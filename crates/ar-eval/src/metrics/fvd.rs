use ar_metrics::networks::I3d;

use crate::metric::{check_two, extractor};
use crate::{
    ClipTraits, Column, EvaluationError, FeatureMeter, Load, MetricInfo, Network, SetMetric,
};

const NETWORK: Network = Network {
    name: "i3d",
    published: "rgb_imagenet.pt",
};

/// Frechet video distance, by I3D.
pub(super) struct Fvd;

impl MetricInfo for Fvd {
    fn name(&self) -> &'static str {
        "fvd"
    }

    fn help(&self) -> &'static str {
        "Frechet video distance, by I3D"
    }

    fn networks(&self) -> &'static [Network] {
        &[NETWORK]
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        check_two(clips)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["fvd"]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column {
            name: "FVD",
            figure: |row| row.distance("fvd"),
        }]
    }
}

impl SetMetric for Fvd {
    fn feature_shape(&self, _clips: &ClipTraits) -> [usize; 2] {
        [1, I3d::WIDTH]
    }

    fn load(&self, load: &Load<'_>) -> Result<FeatureMeter, EvaluationError> {
        let network = I3d::load(load.networks.path(&NETWORK), load.device)?;
        extractor(self, network, load.clips.frames)
    }
}
