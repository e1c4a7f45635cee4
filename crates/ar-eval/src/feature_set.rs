//! A set of clips, represented by features.

use std::cell::OnceCell;

use ar_metrics::{
    ClassProbabilities, FeatureStatistics, InceptionScore, MetricError, frechet_distance,
};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;

use crate::EvaluationError;
use crate::records::{Features, Records};

/// Number of clips whose features are read together.
const CLIPS: usize = 64;

/// The features of all clips of a source, `[clips * samples, width]`.
#[derive(Clone)]
pub struct FeatureSet<'a> {
    pub(crate) records: &'a Records,
    pub(crate) source: String,
    pub(crate) features: Features,
    pub(crate) clips: usize,
    pub(crate) device: &'a Device,
    /// Whether it consists of the changes between successive samples.
    pub(crate) of_changes: bool,
    /// Computed on first use, because every source is compared with the same truth.
    pub(crate) statistics: OnceCell<FeatureStatistics>,
}

impl FeatureSet<'_> {
    /// The differences between the successive samples of each clip, `[clips * (samples - 1), width]`.
    pub fn changes(&self) -> Self {
        Self {
            of_changes: true,
            statistics: OnceCell::new(),
            ..self.clone()
        }
    }

    /// The Frechet distance from `truth`; None if there is no truth, or it has fewer than two samples.
    ///
    /// # Errors
    /// If features cannot be read, or there are too few.
    pub fn frechet_distance(&self, truth: Option<&Self>) -> Result<Option<Value>, EvaluationError> {
        let Some(truth) = truth else { return Ok(None) };
        let truth = truth.statistics()?;
        if truth.count() < 2 {
            return Ok(None);
        }
        let distance = frechet_distance(truth, self.statistics()?);
        Ok(Some(distance.map_err(|source| self.error(source))?.into()))
    }

    /// The inception score over `splits` parts of the set, whose features are class probabilities.
    ///
    /// # Errors
    /// If features cannot be read or are not probabilities, or there are too few.
    pub fn inception_score(&self, splits: usize) -> Result<InceptionScore, EvaluationError> {
        let mut probabilities = ClassProbabilities::new(self.features.width);
        self.batches(|rows| probabilities.add(rows))?;
        let score = probabilities.score(splits);
        score.map_err(|source| self.error(source))
    }

    fn statistics(&self) -> Result<&FeatureStatistics, EvaluationError> {
        if let Some(statistics) = self.statistics.get() {
            return Ok(statistics);
        }
        let mut statistics = FeatureStatistics::new(self.features.width);
        self.batches(|rows| statistics.add(rows))?;
        Ok(self.statistics.get_or_init(|| statistics))
    }

    /// Passes the features on in batches, `[any number, width]`.
    fn batches(
        &self,
        mut take: impl FnMut(Tensor<2>) -> Result<(), MetricError>,
    ) -> Result<(), EvaluationError> {
        let width = self.features.width;
        for first in (0..self.clips).step_by(CLIPS) {
            let mut rows = Vec::new();
            for clip in first..self.clips.min(first + CLIPS) {
                let features = self.records.features(&self.source, clip, self.features)?;
                if self.of_changes {
                    rows.extend(changes(&features, width));
                } else {
                    rows.extend(features);
                }
            }
            if !rows.is_empty() {
                let shape = [rows.len() / width, width];
                let rows = Tensor::from_data(TensorData::new(rows, shape), self.device);
                take(rows).map_err(|source| self.error(source))?;
            }
        }
        Ok(())
    }

    fn error(&self, source: MetricError) -> EvaluationError {
        EvaluationError::Statistics {
            metric: self.features.metric,
            source,
        }
    }
}

/// The differences between successive samples.
fn changes(features: &[f32], width: usize) -> Vec<f32> {
    let next = features.iter().skip(width);
    next.zip(features).map(|(next, this)| next - this).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_between_successive_samples() {
        assert_eq!(
            changes(&[1.0, 2.0, 4.0, 8.0, 5.0, 9.0], 2),
            [3.0, 6.0, 1.0, 1.0]
        );
        assert!(changes(&[1.0, 2.0], 2).is_empty());
    }
}
