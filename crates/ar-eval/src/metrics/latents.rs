use serde_json::Value;

use crate::metric::check_two;
use crate::{
    ClipTraits, Column, EvaluationError, FeatureMeter, FeatureSet, Load, MetricInfo, SetMetric,
};

/// Frechet distances of the model's own latents: of frames, and of the changes between them.
pub(super) struct Latents;

impl MetricInfo for Latents {
    fn name(&self) -> &'static str {
        "latents"
    }

    fn help(&self) -> &'static str {
        "Frechet distances of the model's own latents, of frames and of their changes"
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        check_two(clips)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["latents", "latent_motion"]
    }

    fn columns(&self) -> &'static [Column] {
        &[
            Column {
                name: "latents, distance",
                figure: |row| row.distance("latents"),
            },
            Column {
                name: "latent motion, distance",
                figure: |row| row.distance("latent_motion"),
            },
        ]
    }
}

impl SetMetric for Latents {
    fn feature_shape(&self, clips: &ClipTraits) -> [usize; 2] {
        [clips.frames, clips.latent.iter().product()]
    }

    fn load(&self, load: &Load<'_>) -> Result<FeatureMeter, EvaluationError> {
        let model = load.model.clone();
        Ok(Box::new(move |clip| {
            Ok(model.encode(clip.pixels)?.into_data().iter().collect())
        }))
    }

    fn compare(
        &self,
        clips: &FeatureSet<'_>,
        truth: Option<&FeatureSet<'_>>,
    ) -> Result<Vec<Option<Value>>, EvaluationError> {
        let changes = truth.map(FeatureSet::changes);
        Ok(vec![
            clips.frechet_distance(truth)?,
            clips.changes().frechet_distance(changes.as_ref())?,
        ])
    }
}
