//! Sets of clips against each other, by the features of their clips.

use anyhow::Context;
use ar_metrics::{ClassProbabilities, FeatureStatistics, InceptionScore, frechet_distance};
use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;

use super::metrics::{Features, Metric, SPLITS};
use super::records::Records;
use super::settings::Settings;
use super::source::Source;

/// Clips whose features are taken in together.
const CLIPS: usize = 64;

/// Frechet distances of a set of clips from the ground truth, and its inception score. None of what
/// is not asked for, nor distances of the ground truth from itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Distances {
    /// Of the latents of frames.
    pub latents: Option<f64>,
    /// Of the differences between the latents of successive frames.
    pub latent_motion: Option<f64>,
    pub fvd: Option<f64>,
    pub fid: Option<f64>,
    pub fid_video: Option<f64>,
    pub inception_score: Option<InceptionScore>,
}

/// What is compared of the features `[samples, width]` of a clip, `[any number, width]`.
type View = fn(&[f32], usize) -> Vec<f32>;

/// Where the distance goes.
type Slot = fn(&mut Distances) -> &mut Option<f64>;

/// The Frechet distances that a metric stands for; none if it is no distance.
fn frechet_distances(metric: Metric) -> &'static [(View, Slot)] {
    match metric {
        Metric::Latents => &[
            (samples, |distances| &mut distances.latents),
            (changes, |distances| &mut distances.latent_motion),
        ],
        Metric::Fvd => &[(samples, |distances| &mut distances.fvd)],
        Metric::Fid => &[(samples, |distances| &mut distances.fid)],
        Metric::FidVideo => &[(samples, |distances| &mut distances.fid_video)],
        Metric::World | Metric::Psnr | Metric::Ssim | Metric::Lpips | Metric::Is => &[],
    }
}

/// The samples themselves.
fn samples(features: &[f32], _width: usize) -> Vec<f32> {
    features.to_vec()
}

/// The differences between successive samples.
fn changes(features: &[f32], width: usize) -> Vec<f32> {
    let next = features.iter().skip(width);
    next.zip(features).map(|(next, this)| next - this).collect()
}

/// What sets of clips have of every source, in order. All clips are measured.
///
/// # Errors
/// If features cannot be read, or there are too few of them.
pub(super) fn distances(
    settings: &Settings,
    records: &Records,
    device: &Device,
) -> anyhow::Result<Vec<Distances>> {
    let sources = &settings.sources;
    let mut distances = vec![Distances::default(); sources.len()];
    for &features in &settings.features {
        let set = |source| Set {
            records,
            source: Source::to_string(source),
            features,
            clips: settings.samples,
            device,
        };
        if features.metric == Metric::Is {
            for (source, distances) in sources.iter().zip(&mut distances) {
                distances.inception_score = Some(set(source).inception_score()?);
            }
        }
        for (view, slot) in frechet_distances(features.metric) {
            let truth = set(&Source::Truth).statistics(*view)?;
            for (source, distances) in sources.iter().zip(&mut distances) {
                if *source != Source::Truth && truth.count() > 1 {
                    let statistics = set(source).statistics(*view)?;
                    *slot(distances) = Some(frechet_distance(&truth, &statistics)?);
                }
            }
        }
    }
    Ok(distances)
}

/// The features of all clips of a source.
struct Set<'a> {
    records: &'a Records,
    source: String,
    features: Features,
    clips: usize,
    device: &'a Device,
}

impl Set<'_> {
    /// Hands the features over in batches, `[samples, width]`.
    fn batches(
        &self,
        view: View,
        mut take: impl FnMut(Tensor<2>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let width = self.features.width;
        for first in (0..self.clips).step_by(CLIPS) {
            let mut rows = Vec::new();
            for clip in first..self.clips.min(first + CLIPS) {
                let features = self.records.features(&self.source, clip, self.features)?;
                rows.extend(view(&features, width));
            }
            if !rows.is_empty() {
                let shape = [rows.len() / width, width];
                take(Tensor::from_data(TensorData::new(rows, shape), self.device))?;
            }
        }
        Ok(())
    }

    fn statistics(&self, view: View) -> anyhow::Result<FeatureStatistics> {
        let mut statistics = FeatureStatistics::new(self.features.width);
        self.batches(view, |rows| Ok(statistics.add(rows)?))?;
        Ok(statistics)
    }

    fn inception_score(&self) -> anyhow::Result<InceptionScore> {
        let mut probabilities = ClassProbabilities::new(self.features.width);
        self.batches(samples, |rows| Ok(probabilities.add(rows)?))?;
        probabilities.score(SPLITS).context("the inception score")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_those_between_successive_samples() {
        assert_eq!(
            changes(&[1.0, 2.0, 4.0, 8.0, 5.0, 9.0], 2),
            [3.0, 6.0, 1.0, 1.0]
        );
        assert!(changes(&[1.0, 2.0], 2).is_empty());
    }
}
