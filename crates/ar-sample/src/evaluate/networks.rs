//! The networks that metrics look through.

use anyhow::ensure;
use ar_data::{VideoBatch, VideoItem};
use ar_metrics::networks::{C3d, FeatureExtractor, I3d, InceptionV3, Lpips, ResNet3d};
use ar_model::VideoModel;
use ar_video::{Clip, Frame};
use burn::tensor::{Device, Tensor};

use super::metrics::{Features, Metric};
use super::network::Network;
use super::settings::Settings;
use super::weights::Weights;

/// The networks of an evaluation.
pub(super) struct Networks {
    device: Device,
    lpips: Option<Lpips>,
    /// Those whose features compare sets of clips.
    extractors: Vec<(Features, Extractor)>,
}

enum Extractor {
    /// The model's own VAE.
    Latents(Box<VideoModel>),
    Published(Box<dyn FeatureExtractor>),
}

impl Networks {
    /// Reads what the metrics of an evaluation need.
    ///
    /// # Errors
    /// If weights do not fit, or a network does not take clips of that length.
    pub(super) fn load(
        settings: &Settings,
        model: &VideoModel,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let Settings {
            protocol, weights, ..
        } = settings;
        let frames = protocol.frames;
        let lpips = protocol.metrics.contains(&Metric::Lpips).then(|| {
            let [vgg, linear] = [Network::Vgg16, Network::Lpips].map(|n| weights.path(n));
            Lpips::load(vgg, linear, device)
        });
        let extractor = |&features: &Features| {
            let extractor = Extractor::load(features.metric, weights, model, device)?;
            if let Extractor::Published(network) = &extractor {
                let range = network.frames();
                ensure!(
                    range.contains(&frames),
                    "--metrics: `{}` looks at clips of at least {} frames and at most {}, and these \
                     have {frames}: change --frames",
                    features.metric.name(),
                    range.start(),
                    range.end()
                );
            }
            Ok((features, extractor))
        };
        Ok(Self {
            device: device.clone(),
            lpips: lpips.transpose()?,
            extractors: settings
                .features
                .iter()
                .map(extractor)
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Mean over pairs of frames.
    pub(super) fn lpips(&self, frames: &[Frame], truth: &[Frame]) -> f64 {
        let network = self.lpips.as_ref().expect("loaded where it is asked for");
        let images = |frames| self.pixels(frames).squeeze_dim::<4>(0) * 2 - 1;
        let distances = network.forward(images(frames), images(truth));
        f64::from(distances.mean().into_scalar::<f32>())
    }

    /// What the set metrics see in a clip, each `[samples, width]`, flat.
    pub(super) fn features(&self, frames: &[Frame]) -> anyhow::Result<Vec<Vec<f32>>> {
        if self.extractors.is_empty() {
            return Ok(Vec::new());
        }
        let pixels = self.pixels(frames);
        let extract = |(features, extractor): &(Features, Extractor)| {
            let values: Vec<f32> = match extractor {
                Extractor::Latents(model) => model.encode(pixels.clone())?.into_data(),
                Extractor::Published(network) => network.features(pixels.clone()).into_data(),
            }
            .iter()
            .collect();
            assert_eq!(values.len(), features.len(), "{:?}", features.metric);
            ensure!(
                values.iter().all(|value| value.is_finite()),
                "`{}` gives features that are not finite: check the weights",
                features.metric.name()
            );
            Ok(values)
        };
        self.extractors.iter().map(extract).collect()
    }

    /// `[1, frames, 3, height, width]` in `[0, 1]`
    fn pixels(&self, frames: &[Frame]) -> Tensor<5> {
        let item = VideoItem {
            clip: Clip::new(frames.to_vec()),
            label: None,
            source: 0,
        };
        VideoBatch::new(&[item], &self.device).pixels
    }
}

impl Extractor {
    fn load(
        metric: Metric,
        weights: &Weights,
        model: &VideoModel,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let &[network] = metric.networks() else {
            return Ok(Self::Latents(Box::new(model.clone())));
        };
        let path = weights.path(network);
        let network: Box<dyn FeatureExtractor> = match network {
            Network::I3d => Box::new(I3d::load(path, device)?),
            Network::InceptionV3 => Box::new(InceptionV3::load(path, device)?),
            Network::Resnet3d => Box::new(ResNet3d::load(path, device)?),
            Network::C3d => Box::new(C3d::load(path, device)?),
            Network::Vgg16 | Network::Lpips => unreachable!("no features of sets"),
        };
        Ok(Self::Published(network))
    }
}
