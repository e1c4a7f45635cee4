//! Reports at the end of commands.

use ar_model::ModelConfig;
use ar_pipeline::ModelSource;
use serde::Serialize;

/// A model in a report.
#[derive(Debug, Serialize)]
pub(crate) struct ModelReport {
    /// Its source.
    pub source: String,
    /// The name in its configuration.
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
