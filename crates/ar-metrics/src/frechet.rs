//! Frechet distance between two sets of feature vectors, from their means and covariances.

use std::path::Path;

use burn::tensor::Tensor;
use nalgebra::{DMatrix, SymmetricEigen};
use safetensors::tensor::Dtype;

use crate::{MetricError, archive};

/// Mean and covariance of a set of feature vectors, accumulated batch by batch in double precision.
///
/// Parts of a set may be accumulated separately, saved, and [merged](Self::merge) in any order.
///
/// ```
/// use ar_metrics::{FeatureStatistics, frechet_distance};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let statistics = |offset: f32| {
///     let mut statistics = FeatureStatistics::new(2);
///     let square = [[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]];
///     statistics.add(Tensor::<2>::from_floats(square, &device) + offset)?;
///     Ok::<_, ar_metrics::MetricError>(statistics)
/// };
/// // The same covariance; the means are (3, 3) apart.
/// let distance = frechet_distance(&statistics(0.0)?, &statistics(3.0)?)?;
/// assert!((distance - 18.0).abs() < 1e-9);
/// # Ok::<(), ar_metrics::MetricError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureStatistics {
    count: usize,
    mean: Vec<f64>,
    /// Sums of products of deviations from the mean: the covariance times `count - 1`, row by row.
    scatter: Vec<f64>,
}

impl FeatureStatistics {
    /// No samples yet, of `width` features each.
    ///
    /// # Panics
    /// If `width` is 0.
    pub fn new(width: usize) -> Self {
        assert!(width > 0, "samples have at least one feature");
        Self {
            count: 0,
            mean: vec![0.0; width],
            scatter: vec![0.0; width * width],
        }
    }

    /// Number of samples so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Features per sample.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Adds a batch of samples.
    ///
    /// # Shapes
    /// - `features`: `[samples, width]`
    ///
    /// # Errors
    /// If the width differs or a feature is not finite; nothing is added then.
    pub fn add(&mut self, features: Tensor<2>) -> Result<(), MetricError> {
        let [count, width] = features.dims();
        let values: Vec<f64> = features.into_data().iter().collect();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(MetricError::NotFinite {
                sample: index / width,
            });
        }
        // A matrix is in column-major order: its columns are the samples.
        let mut deviations = DMatrix::from_vec(width, count, values);
        let mean = deviations.column_sum() / count.max(1) as f64;
        deviations
            .column_iter_mut()
            .for_each(|mut sample| sample -= &mean);
        let scatter = &deviations * deviations.transpose();
        self.merge(&Self {
            count,
            mean: mean.data.into(),
            scatter: scatter.data.into(),
        })
    }

    /// Adds the samples of `other` (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    /// sample variances", 1979).
    ///
    /// # Errors
    /// If the width differs.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        let width = self.width();
        if other.width() != width {
            return Err(MetricError::Width {
                expected: width,
                found: other.width(),
            });
        }
        let count = self.count + other.count;
        if count == 0 {
            return Ok(());
        }
        let share = other.count as f64 / count as f64;
        let between = self.count as f64 * share;
        let apart: Vec<f64> = other
            .mean
            .iter()
            .zip(&self.mean)
            .map(|(b, a)| b - a)
            .collect();
        let rows = self.scatter.chunks_exact_mut(width);
        for ((row, others), a) in rows.zip(other.scatter.chunks_exact(width)).zip(&apart) {
            for ((sum, other), b) in row.iter_mut().zip(others).zip(&apart) {
                *sum += other + between * a * b;
            }
        }
        for (mean, apart) in self.mean.iter_mut().zip(&apart) {
            *mean += share * apart;
        }
        self.count = count;
        Ok(())
    }

    /// Writes the statistics to a safetensors file, atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), MetricError> {
        let path = path.as_ref();
        let bytes = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (width, count) = (self.width(), self.count as u64);
        archive::write(
            path,
            &[
                ("count", Dtype::U64, vec![1], count.to_le_bytes().to_vec()),
                ("mean", Dtype::F64, vec![width], bytes(&self.mean)),
                (
                    "scatter",
                    Dtype::F64,
                    vec![width, width],
                    bytes(&self.scatter),
                ),
            ],
        )
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file is missing, damaged or of another kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, MetricError> {
        let path = path.as_ref();
        archive::read(path, "feature statistics", |file| {
            let (_, count) = archive::tensor(file, "count", Dtype::U64)?;
            let (mean_shape, mean) = archive::tensor(file, "mean", Dtype::F64)?;
            let (scatter_shape, scatter) = archive::tensor(file, "scatter", Dtype::F64)?;
            let &[width @ 1..=usize::MAX] = mean_shape.as_slice() else {
                return Err(format!("mean has shape {mean_shape:?}"));
            };
            if scatter_shape != [width, width] {
                return Err(format!("scatter has shape {scatter_shape:?}"));
            }
            let values = |bytes: &[u8]| -> Result<Vec<f64>, String> {
                let (values, _) = bytes.as_chunks();
                let values: Vec<f64> = values.iter().map(|&v| f64::from_le_bytes(v)).collect();
                if values.iter().all(|value| value.is_finite()) {
                    Ok(values)
                } else {
                    Err("a value is not finite".into())
                }
            };
            let count = count.try_into().map_err(|_| "count is not one number")?;
            Ok(Self {
                count: u64::from_le_bytes(count) as usize,
                mean: values(mean)?,
                scatter: values(scatter)?,
            })
        })
    }

    /// The unbiased covariance (divided by `count - 1`), `[width, width]`.
    fn covariance(&self) -> DMatrix<f64> {
        let width = self.width();
        DMatrix::from_row_slice(width, width, &self.scatter) / (self.count - 1) as f64
    }
}

/// Steps in which the eigenvalues are found, for each of them: it takes one or two.
const ITERATIONS: usize = 64;

/// Frechet distance between the Gaussians of two sets of features (Heusel et al., "GANs trained by
/// a two time-scale update rule converge to a local Nash equilibrium", 2017, equation 6),
///
/// ```text
/// |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))
/// ```
///
/// The trace of the square root is computed from the eigenvalues of the symmetric matrix `S1^(1/2) S2 S1^(1/2)`, which
/// `S1 S2` has too. This stays exact for singular covariances, as with fewer samples than features. Rounding may make
/// the distance between equal sets slightly negative.
///
/// # Errors
/// If the widths differ or a set has fewer than two samples.
pub fn frechet_distance(a: &FeatureStatistics, b: &FeatureStatistics) -> Result<f64, MetricError> {
    if a.width() != b.width() {
        return Err(MetricError::Width {
            expected: a.width(),
            found: b.width(),
        });
    }
    let fewer = a.count.min(b.count);
    if fewer < 2 {
        return Err(MetricError::TooFew {
            found: fewer,
            needed: 2,
        });
    }
    let apart = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2));
    let (s1, s2) = (a.covariance(), b.covariance());

    // With S1 = U L U^T, the product is similar to L^(1/2) U^T S2 U L^(1/2).
    let traces = s1.trace() + s2.trace();
    if !traces.is_finite() {
        return Err(MetricError::Decomposition);
    }
    let eigen = SymmetricEigen::try_new(s1, f64::EPSILON, ITERATIONS * a.width());
    let eigen = eigen.ok_or(MetricError::Decomposition)?;
    let roots = DMatrix::from_diagonal(&eigen.eigenvalues.map(root));
    let vectors = eigen.eigenvectors * roots;
    let product = vectors.transpose() * s2 * &vectors;
    let eigen = SymmetricEigen::try_new(product, f64::EPSILON, ITERATIONS * a.width());
    let eigen = eigen.ok_or(MetricError::Decomposition)?;

    let common = eigen.eigenvalues.map(root).sum();
    Ok(apart.sum::<f64>() + traces - 2.0 * common)
}

/// The square root of an eigenvalue, which can only be negative by rounding.
fn root(eigenvalue: f64) -> f64 {
    eigenvalue.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, TensorData};

    fn gathered(rows: &[Vec<f64>]) -> FeatureStatistics {
        let width = rows[0].len();
        let data = TensorData::new(rows.concat(), [rows.len(), width]);
        let mut statistics = FeatureStatistics::new(width);
        let rows = Tensor::from_data(data, (&Device::flex(), DType::F64));
        statistics.add(rows).expect("finite features");
        statistics
    }

    /// Two samples on each axis, so that the covariance is exactly `turn diag(variances) turn^T`.
    fn gaussian(
        mean: &[f64],
        variances: &[f64],
        turn: impl Fn(&[f64]) -> Vec<f64>,
    ) -> FeatureStatistics {
        let width = mean.len();
        let count = 2 * width;
        let mut rows = Vec::new();
        for (axis, variance) in variances.iter().enumerate() {
            let reach = (variance * (count - 1) as f64 / 2.0).sqrt();
            for sign in [1.0, -1.0] {
                let mut row = vec![0.0; width];
                row[axis] = sign * reach;
                let turned = turn(&row);
                rows.push(turned.iter().zip(mean).map(|(x, m)| x + m).collect());
            }
        }
        gathered(&rows)
    }

    fn rotated(angle: f64) -> impl Fn(&[f64]) -> Vec<f64> {
        let (sin, cos) = angle.sin_cos();
        move |x| vec![cos * x[0] - sin * x[1], sin * x[0] + cos * x[1]]
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9 * (1.0 + b.abs())
    }

    #[test]
    fn of_diagonal_gaussians() {
        let a = gaussian(&[1.0, 2.0, 3.0], &[4.0, 9.0, 0.25], <[f64]>::to_vec);
        let b = gaussian(&[0.0, 0.0, 5.0], &[1.0, 16.0, 0.0], <[f64]>::to_vec);
        // |mu|^2 = 1 + 4 + 4; the roots of the variances differ by 1, 1 and 1/2.
        let expected = 9.0 + 1.0 + 1.0 + 0.25;
        let distance = frechet_distance(&a, &b).expect("a distance");
        assert!(close(distance, expected), "{distance}");
        assert!(close(
            frechet_distance(&b, &a).expect("a distance"),
            expected
        ));
    }

    #[test]
    fn of_rotated_gaussians() {
        let (first, second) = ([4.0, 1.0], [9.0, 0.25]);
        let angle: f64 = 0.7;
        let a = gaussian(&[0.0, 1.0], &first, rotated(0.4));
        let b = gaussian(&[2.0, 0.0], &second, rotated(0.4 + angle));
        // In two dimensions, tr (S1 S2)^(1/2) = (tr S1 S2 + 2 (det S1 S2)^(1/2))^(1/2).
        let (cos2, sin2) = (angle.cos().powi(2), angle.sin().powi(2));
        let product = cos2 * (4.0 * 9.0 + 0.25) + sin2 * (4.0 * 0.25 + 9.0);
        let root = (product + 2.0 * (4.0_f64 * 9.0 * 0.25).sqrt()).sqrt();
        let expected = 5.0 + 5.0 + 9.25 - 2.0 * root;
        let distance = frechet_distance(&a, &b).expect("a distance");
        assert!(close(distance, expected), "{distance} {expected}");
    }

    #[test]
    fn of_a_set_to_itself_is_zero() {
        // Fewer samples than features: a singular covariance.
        let rows: Vec<Vec<f64>> = (0..5)
            .map(|i| {
                (0..16)
                    .map(|j| f64::from((i * 37 + j * j * 11) % 23))
                    .collect()
            })
            .collect();
        let set = gathered(&rows);
        let distance = frechet_distance(&set, &set).expect("a distance");
        assert!(distance.abs() < 1e-4, "{distance}");
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let rows: Vec<Vec<f64>> = (0..7)
            .map(|i| vec![f64::from(i * i), 1e4 + f64::from(i % 3)])
            .collect();
        let whole = gathered(&rows);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part.safetensors");
        gathered(&rows[..2]).save(&path).expect("saved");
        let mut parts = FeatureStatistics::new(2);
        parts.merge(&gathered(&rows[2..])).expect("one width");
        let saved = FeatureStatistics::load(&path).expect("loaded");
        assert_eq!(saved, gathered(&rows[..2]));
        parts.merge(&saved).expect("one width");
        assert_eq!(parts.count(), 7);
        let pairs = whole
            .mean
            .iter()
            .chain(&whole.scatter)
            .zip(parts.mean.iter().chain(&parts.scatter));
        for (whole, part) in pairs {
            assert!(close(*part, *whole), "{part} {whole}");
        }
        // Sums of squared deviations of 0, 1, 4, 9, 16, 25, 36 (mean 13) and of 0, 1, 2, 0, 1, 2, 0.
        assert!(close(whole.scatter[0], 1092.0), "{}", whole.scatter[0]);
        assert!(close(whole.scatter[3], 34.0 / 7.0), "{}", whole.scatter[3]);
    }

    #[test]
    fn refuses_what_cannot_be_measured() {
        let set = gathered(&[vec![1.0, 2.0], vec![3.0, 4.0]]);
        let one = gathered(&[vec![1.0, 2.0]]);
        let error = frechet_distance(&set, &one).expect_err("one sample");
        assert_eq!(
            error.to_string(),
            "1 samples are too few; at least 2 are needed"
        );
        let error = frechet_distance(&set, &FeatureStatistics::new(3)).expect_err("other features");
        assert!(
            error.to_string().contains("samples of 3 features"),
            "{error}"
        );

        let mut statistics = set.clone();
        let nan = Tensor::from_floats([[1.0, 2.0], [f32::NAN, 1.0]], &Device::flex());
        let error = statistics.add(nan).expect_err("NaN");
        assert!(error.to_string().starts_with("sample 1 has"), "{error}");
        assert_eq!(statistics, set, "nothing is taken in");

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("part.safetensors");
        assert!(FeatureStatistics::load(&path).is_err());
        std::fs::write(&path, b"\x02\0\0\0\0\0\0\0{}").expect("written");
        let error = FeatureStatistics::load(&path).expect_err("no tensors");
        assert!(
            error
                .to_string()
                .contains("not a file of feature statistics"),
            "{error}"
        );
    }
}
