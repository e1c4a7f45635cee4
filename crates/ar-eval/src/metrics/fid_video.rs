use ar_metrics::networks::ResNet3d;

use crate::metric::{check_two, extractor};
use crate::{
    ClipTraits, Column, EvaluationError, FeatureMeter, Load, MetricInfo, Network, SetMetric,
};

const NETWORK: Network = Network {
    name: "resnet3d",
    published: "r3d50_K_200ep.pth",
};

/// Frechet inception distance of clips, by a 3D ResNet.
pub(super) struct FidVideo;

impl MetricInfo for FidVideo {
    fn name(&self) -> &'static str {
        "fid-video"
    }

    fn help(&self) -> &'static str {
        "Frechet inception distance of clips, by a 3D ResNet"
    }

    fn networks(&self) -> &'static [Network] {
        &[NETWORK]
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        check_two(clips)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["fid_video"]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column {
            name: "FID of clips",
            figure: |row| row.distance("fid_video"),
        }]
    }
}

impl SetMetric for FidVideo {
    fn feature_shape(&self, _clips: &ClipTraits) -> [usize; 2] {
        [1, ResNet3d::WIDTH]
    }

    fn load(&self, load: &Load<'_>) -> Result<FeatureMeter, EvaluationError> {
        let network = ResNet3d::load(load.networks.path(&NETWORK), load.device)?;
        extractor(self, network, load.clips.frames)
    }
}
