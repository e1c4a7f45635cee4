use ar_metrics::{SSIM_WINDOW, ssim};

use crate::metric::check_size;
use crate::{ClipMeter, ClipMetric, ClipTraits, Column, EvaluationError, Load, MetricInfo};

/// Structural similarity, at most 1.
pub(super) struct Ssim;

impl MetricInfo for Ssim {
    fn name(&self) -> &'static str {
        "ssim"
    }

    fn help(&self) -> &'static str {
        "Structural similarity, of clips with a ground truth"
    }

    fn check(&self, clips: &ClipTraits) -> Result<(), String> {
        check_size(clips, SSIM_WINDOW)
    }

    fn keys(&self) -> &'static [&'static str] {
        &["ssim"]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column {
            name: "SSIM",
            figure: |row| Some(format!("{:.4}", row.number("ssim")?)),
        }]
    }
}

impl ClipMetric for Ssim {
    fn load(&self, _load: &Load<'_>) -> Result<ClipMeter, EvaluationError> {
        Ok(Box::new(|clip| {
            let (frames, truth) = clip.compared()?;
            Some(ssim(frames, truth).into())
        }))
    }
}
