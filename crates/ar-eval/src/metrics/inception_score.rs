use ar_metrics::networks::C3d;
use serde_json::Value;

use crate::metric::extractor;
use crate::{
    ClipTraits, Column, EvaluationError, FeatureMeter, FeatureSet, Load, MetricInfo, Network,
    SetMetric,
};

const NETWORK: Network = Network {
    name: "c3d",
    published: "a conversion of C3D for UCF-101",
};

/// Parts of a set that the score is averaged over.
const SPLITS: usize = 10;

/// Inception score of clips, by C3D; higher is better. It needs no other set for comparison.
pub(super) struct InceptionScore;

impl MetricInfo for InceptionScore {
    fn name(&self) -> &'static str {
        "is"
    }

    fn help(&self) -> &'static str {
        "Inception score of clips, by C3D"
    }

    fn networks(&self) -> &'static [Network] {
        &[NETWORK]
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        if clips.samples >= 2 * SPLITS {
            return Ok(());
        }
        Err(format!(
            "is a mean over {SPLITS} parts of the clips, and the score of a single clip is always \
             1: `samples` has to be at least {}",
            2 * SPLITS
        ))
    }

    fn keys(&self) -> &'static [&'static str] {
        &["inception_score"]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column {
            name: "inception score",
            figure: |row| {
                let score: ar_metrics::InceptionScore = row.get("inception_score")?;
                Some(format!("{:.2} ± {:.2}", score.mean, score.std))
            },
        }]
    }
}

impl SetMetric for InceptionScore {
    fn feature_shape(&self, _clips: &ClipTraits) -> [usize; 2] {
        [1, C3d::WIDTH]
    }

    fn load(&self, load: &Load<'_>) -> Result<FeatureMeter, EvaluationError> {
        let network = C3d::load(load.networks.path(&NETWORK), load.device)?;
        extractor(self, network, load.clips.frames)
    }

    fn compare(
        &self,
        clips: &FeatureSet<'_>,
        _truth: Option<&FeatureSet<'_>>,
    ) -> Result<Vec<Option<Value>>, EvaluationError> {
        let score = clips.inception_score(SPLITS)?;
        Ok(vec![Some(
            serde_json::to_value(score).expect("plain values"),
        )])
    }
}
