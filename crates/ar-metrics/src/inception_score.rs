use std::path::Path;

use burn::tensor::Tensor;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use crate::{MetricError, archive};

/// Class probabilities of samples, in order, from which the inception score is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassProbabilities {
    classes: usize,
    /// `[samples, classes]`, row by row.
    rows: Vec<f32>,
}

/// An inception score over parts of a set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct InceptionScore {
    /// Mean of the parts' scores.
    pub mean: f64,
    /// Standard deviation of the parts' scores (divided by their number).
    pub std: f64,
}

impl ClassProbabilities {
    /// No samples yet, of `classes` probabilities each.
    ///
    /// # Panics
    /// If `classes` is 0.
    pub fn new(classes: usize) -> Self {
        assert!(classes > 0, "samples have at least one class");
        Self {
            classes,
            rows: Vec::new(),
        }
    }

    /// Number of samples so far.
    pub fn count(&self) -> usize {
        self.rows.len() / self.classes
    }

    /// Adds a batch of samples.
    ///
    /// # Shapes
    /// - `probabilities`: `[samples, classes]`, each row summing to 1
    ///
    /// # Errors
    /// If the number of classes differs or a row is not a distribution; nothing is added then.
    pub fn add(&mut self, probabilities: Tensor<2>) -> Result<(), MetricError> {
        let [_, classes] = probabilities.dims();
        self.append(&Self {
            classes,
            rows: probabilities.into_data().iter().collect(),
        })
    }

    /// Adds the samples of `other` at the end.
    ///
    /// # Errors
    /// If the number of classes differs or a row of `other` is not a distribution.
    pub fn append(&mut self, other: &Self) -> Result<(), MetricError> {
        if other.classes != self.classes {
            return Err(MetricError::Width {
                expected: self.classes,
                found: other.classes,
            });
        }
        for (sample, row) in other.rows.chunks_exact(other.classes).enumerate() {
            let sum: f32 = row.iter().sum();
            if !row.iter().all(|&p| p >= 0.0) || (sum - 1.0).abs() > 1e-3 {
                return Err(MetricError::NotProbabilities { sample, sum });
            }
        }
        self.rows.extend_from_slice(&other.rows);
        Ok(())
    }

    /// `exp(E KL(p(y|x) || p(y)))` (Salimans et al., "Improved techniques for training GANs", 2016,
    /// section 4) of each of `splits` equal parts of the samples, in order; samples that are left
    /// over at the end are ignored.
    ///
    /// # Errors
    /// If there are fewer samples than parts.
    pub fn score(&self, splits: usize) -> Result<InceptionScore, MetricError> {
        let splits = splits.max(1);
        if self.count() < splits {
            return Err(MetricError::TooFew {
                found: self.count(),
                needed: splits,
            });
        }
        let size = self.count() / splits * self.classes;
        let parts = self.rows.chunks_exact(size).take(splits);
        let scores: Vec<f64> = parts.map(|part| self.score_of(part)).collect();
        let mean = scores.iter().sum::<f64>() / splits as f64;
        let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / splits as f64;
        Ok(InceptionScore {
            mean,
            std: variance.sqrt(),
        })
    }

    fn score_of(&self, rows: &[f32]) -> f64 {
        let count = (rows.len() / self.classes) as f64;
        let mut marginal = vec![0.0; self.classes];
        for row in rows.chunks_exact(self.classes) {
            for (sum, &p) in marginal.iter_mut().zip(row) {
                *sum += f64::from(p) / count;
            }
        }
        let terms = rows.iter().zip(marginal.iter().cycle());
        let divergence: f64 = terms
            .filter(|&(&p, _)| p > 0.0)
            .map(|(&p, marginal)| f64::from(p) * (f64::from(p) / marginal).ln())
            .sum();
        (divergence / count).exp()
    }

    /// Writes the samples to a safetensors file, atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), MetricError> {
        let path = path.as_ref();
        let bytes = self.rows.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = vec![self.count(), self.classes];
        archive::write(path, &[("probabilities", Dtype::F32, shape, bytes)])
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file is missing, damaged or of another kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, MetricError> {
        let path = path.as_ref();
        archive::read(path, "class probabilities", |file| {
            let (shape, bytes) = archive::tensor(file, "probabilities", Dtype::F32)?;
            let &[_, classes @ 1..=usize::MAX] = shape.as_slice() else {
                return Err(format!("probabilities have shape {shape:?}"));
            };
            let (values, _) = bytes.as_chunks();
            let rows = values.iter().map(|&v| f32::from_le_bytes(v)).collect();
            let mut probabilities = Self::new(classes);
            probabilities
                .append(&Self { classes, rows })
                .map_err(|error| error.to_string())?;
            Ok(probabilities)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn gathered<const N: usize>(rows: [[f32; 3]; N]) -> ClassProbabilities {
        let mut gathered = ClassProbabilities::new(3);
        let rows = Tensor::from_floats(rows, &Device::flex());
        gathered.add(rows).expect("distributions");
        gathered
    }

    const CERTAIN: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

    #[test]
    fn of_certain_classes_is_their_number() {
        let score = gathered(CERTAIN).score(1).expect("a score");
        assert!((score.mean - 3.0).abs() < 1e-12);
        assert_eq!(score.std, 0.0);
    }

    #[test]
    fn of_equal_samples_is_one() {
        let score = gathered([[0.2, 0.3, 0.5]; 7]).score(3).expect("a score");
        assert!((score.mean - 1.0).abs() < 1e-7, "{}", score.mean);
    }

    #[test]
    fn of_parts() {
        // Two classes in the first part, one in the second; the fifth sample is left over.
        let [a, b, c] = CERTAIN;
        let score = gathered([a, b, c, c, a]).score(2).expect("a score");
        assert!((score.mean - 1.5).abs() < 1e-12);
        assert!((score.std - 0.5).abs() < 1e-12);
    }

    #[test]
    fn of_a_hand_computed_set() {
        // p(y) = (1/2, 1/2, 0); each sample: 3/4 ln(3/2) + 1/4 ln(1/2).
        let score = gathered([[0.75, 0.25, 0.0], [0.25, 0.75, 0.0]]).score(1);
        let expected = 1.5_f64.powf(0.75) * 0.5_f64.powf(0.25);
        assert!((score.expect("a score").mean - expected).abs() < 1e-12);
    }

    #[test]
    fn refuses_what_is_no_distribution() {
        let device = Device::flex();
        let mut gathered = gathered(CERTAIN);
        for rows in [
            [[0.5, 0.5, 0.5]],
            [[f32::NAN, 0.5, 0.5]],
            [[1.5, -0.5, 0.0]],
        ] {
            let error = gathered.add(Tensor::from_floats(rows, &device));
            assert!(matches!(error, Err(MetricError::NotProbabilities { .. })));
        }
        let error = gathered.add(Tensor::from_floats([[0.5, 0.5]], &device));
        assert!(matches!(error, Err(MetricError::Width { .. })));
        let error = gathered.score(4);
        assert!(matches!(error, Err(MetricError::TooFew { .. })));
    }

    #[test]
    fn survives_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("is.safetensors");
        let gathered = gathered([[0.2, 0.3, 0.5]; 4]);
        gathered.save(&path).expect("saved");
        assert_eq!(ClassProbabilities::load(&path).expect("loaded"), gathered);
        std::fs::write(&path, "no tensors").expect("written");
        let error = ClassProbabilities::load(&path).expect_err("no tensors");
        assert!(
            error
                .to_string()
                .contains("not a file of class probabilities")
        );
    }
}
