//! What commands tell at their end.

use ar_model::ModelConfig;
use ar_pipeline::ModelSource;
use serde::Serialize;

/// A model in a report.
#[derive(Debug, Serialize)]
pub(crate) struct ModelReport {
    /// Where it came from.
    pub source: String,
    /// What it calls itself.
    pub name: String,
}

impl ModelReport {
    pub(crate) fn new(source: &ModelSource, config: &ModelConfig) -> Self {
        Self {
            source: source.to_string(),
            name: config.name.clone(),
        }
    }
}

/// A report as one line.
pub(crate) fn json_line(report: &impl Serialize) -> String {
    let json = serde_json::to_string(report).expect("a report is plain values");
    json + "\n"
}
