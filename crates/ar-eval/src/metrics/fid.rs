use ar_metrics::networks::InceptionV3;

use crate::metric::{check_two, extractor};
use crate::{
    ClipTraits, Column, EvaluationError, FeatureMeter, FidFrames, Load, MetricInfo, Network,
    SeenClip, SetMetric,
};

const NETWORK: Network = Network {
    name: "inception-v3",
    published: "pt_inception-2015-12-05-6726825d.pth",
};

/// Frechet inception distance of frames, by Inception-v3; see `FidFrames`.
pub(super) struct Fid;

impl MetricInfo for Fid {
    fn name(&self) -> &'static str {
        "fid"
    }

    fn help(&self) -> &'static str {
        "Frechet inception distance of frames, by Inception-v3"
    }

    fn networks(&self) -> &'static [Network] {
        &[NETWORK]
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        check_two(clips)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["fid"]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column {
            name: "FID",
            figure: |row| row.distance("fid"),
        }]
    }
}

impl SetMetric for Fid {
    fn feature_shape(&self, clips: &ClipTraits) -> [usize; 2] {
        let frames = match clips.fid_frames {
            FidFrames::All => clips.frames,
            FidFrames::One => 1,
        };
        [frames, InceptionV3::WIDTH]
    }

    fn load(&self, load: &Load<'_>) -> Result<FeatureMeter, EvaluationError> {
        let network = InceptionV3::load(load.networks.path(&NETWORK), load.device)?;
        let frames = load.clips.frames;
        let extract = extractor(self, network, frames)?;
        if load.clips.fid_frames == FidFrames::All {
            return Ok(extract);
        }
        Ok(Box::new(move |SeenClip { number, pixels }| {
            let pixels = pixels.narrow(1, number % frames, 1);
            extract(SeenClip { number, pixels })
        }))
    }
}
