//! The figures over all clips.

use std::cell::OnceCell;
use std::fmt::Write;

use burn::tensor::Device;
use serde::Serialize;
use serde_json::Value;

use crate::records::Records;
use crate::settings::Settings;
use crate::source::Source;
use crate::{
    ClipMetric, Column, EvaluationError, FeatureSet, METRICS, Metric, Protocol, Row, SetMetric,
};

/// The contents of `report.json`.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What the figures depend on.
    pub protocol: Protocol,
    /// Clips of each source.
    pub samples: usize,
    /// The sources, side by side.
    pub sources: Vec<Row>,
}

impl Report {
    /// The report, or None as long as a clip is missing.
    ///
    /// # Errors
    /// If records are damaged, or sets of clips cannot be compared.
    pub(crate) fn new(
        settings: &Settings,
        records: &Records,
        device: &Device,
    ) -> Result<Option<Self>, EvaluationError> {
        let is_measured = |source: &Source| {
            let source = source.to_string();
            (0..settings.samples).all(|clip| records.has(&source, clip))
        };
        if !settings.sources.iter().all(is_measured) {
            return Ok(None);
        }
        let mut sources: Vec<Row> = settings
            .sources
            .iter()
            .map(|source| Row::new(source.to_string(), keys()))
            .collect();
        for metric in &settings.metrics {
            match *metric {
                Metric::Clip(metric) => summarize(metric, &mut sources, settings.samples, records)?,
                Metric::Set(metric) => compare(metric, &mut sources, settings, records, device)?,
            }
        }
        Ok(Some(Self {
            protocol: settings.protocol.clone(),
            samples: settings.samples,
            sources,
        }))
    }

    /// The figures of every source: the names of the columns, and a row for each source.
    pub(crate) fn cells(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let used: Vec<&Column> = METRICS
            .iter()
            .flat_map(|metric| metric.columns())
            .filter(|column| {
                self.sources
                    .iter()
                    .any(|row| (column.figure)(row).is_some())
            })
            .collect();
        let cells = |row: &Row| {
            let figure = |column: &&Column| (column.figure)(row).unwrap_or_default();
            used.iter().map(figure).collect()
        };
        (
            used.iter().map(|column| column.name).collect(),
            self.sources.iter().map(cells).collect(),
        )
    }

    /// The figures as a table for a terminal: one per line, with the sources side by side.
    pub fn table(&self) -> String {
        let (names, rows) = self.cells();
        let sources: Vec<&str> = self.sources.iter().map(|row| row.source.as_str()).collect();
        let width = |text: &str| text.chars().count();
        let first = names.iter().map(|name| width(name)).max().unwrap_or(0);
        let mut table = " ".repeat(first);
        for source in &sources {
            let _ = write!(table, "  {source}");
        }
        for (column, name) in names.iter().enumerate() {
            let _ = write!(table, "\n{name:first$}");
            for (source, row) in sources.iter().zip(&rows) {
                let _ = write!(table, "  {:>1$}", row[column], width(source));
            }
        }
        table
    }
}

/// The keys of all metrics. A report always has all of them, with null where there is no figure.
fn keys() -> impl Iterator<Item = &'static str> {
    METRICS.iter().flat_map(|metric| metric.keys()).copied()
}

/// The figures of a metric of single clips.
fn summarize(
    metric: &dyn ClipMetric,
    rows: &mut [Row],
    samples: usize,
    records: &Records,
) -> Result<(), EvaluationError> {
    for row in rows {
        let measures: Vec<&Value> = (0..samples)
            .filter_map(|clip| records.get(&row.source, clip)?.get(metric.name()))
            .filter(|measure| !measure.is_null())
            .collect();
        if !measures.is_empty() {
            let summary =
                metric
                    .summary(&measures)
                    .map_err(|source| EvaluationError::Measures {
                        metric: metric.name(),
                        clips: row.source.clone(),
                        source,
                    })?;
            row.set(metric.keys()[0], summary);
        }
    }
    Ok(())
}

/// The figures of a metric of sets of clips.
fn compare(
    metric: &dyn SetMetric,
    rows: &mut [Row],
    settings: &Settings,
    records: &Records,
    device: &Device,
) -> Result<(), EvaluationError> {
    let features = settings.features.iter();
    let features = features.copied().find(|of| of.metric == metric.name());
    let set = |source: &Source| FeatureSet {
        records,
        source: source.to_string(),
        features: features.expect("features of every metric of sets"),
        clips: settings.samples,
        device,
        of_changes: false,
        statistics: OnceCell::new(),
    };
    let truth = set(&Source::Truth);
    for (row, source) in rows.iter_mut().zip(&settings.sources) {
        let truth = (*source != Source::Truth).then_some(&truth);
        let figures = metric.compare(&set(source), truth)?;
        for (key, figure) in metric.keys().iter().zip(figures) {
            row.set(key, figure.unwrap_or_default());
        }
    }
    Ok(())
}
