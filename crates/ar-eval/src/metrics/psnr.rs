use ar_metrics::psnr;

use crate::{ClipMeter, ClipMetric, Column, EvaluationError, Load, MetricInfo};

/// Peak signal-to-noise ratio in decibels; a clip without any error has none.
pub(super) struct Psnr;

impl MetricInfo for Psnr {
    fn name(&self) -> &'static str {
        "psnr"
    }

    fn help(&self) -> &'static str {
        "Peak signal-to-noise ratio, of clips with a ground truth"
    }

    fn keys(&self) -> &'static [&'static str] {
        &["psnr"]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column {
            name: "PSNR, dB",
            figure: |row| Some(format!("{:.2}", row.number("psnr")?)),
        }]
    }
}

impl ClipMetric for Psnr {
    fn load(&self, _load: &Load<'_>) -> Result<ClipMeter, EvaluationError> {
        Ok(Box::new(|clip| {
            let (frames, truth) = clip.compared()?;
            let psnr = psnr(frames, truth);
            psnr.is_finite().then(|| psnr.into())
        }))
    }
}
