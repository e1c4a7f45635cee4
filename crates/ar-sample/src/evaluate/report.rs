//! The measures of all clips together.

use std::fmt::Write;

use ar_metrics::physics::PhysicsReport;
use burn::tensor::Device;
use serde::Serialize;

use super::distances::{Distances, distances};
use super::measures::Measures;
use super::records::Records;
use super::settings::{Protocol, Settings};

/// What `report.json` says.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub protocol: Protocol,
    /// Clips of each source.
    pub samples: usize,
    pub sources: Vec<Row>,
}

/// One source.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub source: String,
    pub world: Option<PhysicsReport>,
    /// Mean over clips, in decibels.
    pub psnr: Option<f64>,
    /// Mean over clips.
    pub ssim: Option<f64>,
    /// Mean over clips.
    pub lpips: Option<f64>,
    #[serde(flatten)]
    pub distances: Distances,
}

/// A column of the table: its name, and a source's figure in words.
type Column = (&'static str, fn(&Row) -> Option<String>);

/// The figures that are shown, lower being better unless they say otherwise.
const COLUMNS: &[Column] = &[
    ("PSNR, dB", |row| row.psnr.map(|psnr| format!("{psnr:.2}"))),
    ("SSIM", |row| row.ssim.map(|ssim| format!("{ssim:.4}"))),
    ("LPIPS", |row| row.lpips.map(|lpips| format!("{lpips:.4}"))),
    ("FVD", |row| distance(row.distances.fvd)),
    ("FID", |row| distance(row.distances.fid)),
    ("FID of clips", |row| distance(row.distances.fid_video)),
    ("inception score", |row| {
        let score = row.distances.inception_score?;
        Some(format!("{:.2} ± {:.2}", score.mean, score.std))
    }),
    ("latents, distance", |row| distance(row.distances.latents)),
    ("latent motion, distance", |row| {
        distance(row.distances.latent_motion)
    }),
    ("count right", |row| {
        share(row.world.as_ref()?.object_count.mean)
    }),
    ("radius drift", |row| {
        share(row.world.as_ref()?.radius_drift.mean)
    }),
    ("velocity error", |row| {
        share(row.world.as_ref()?.velocity_error.mean)
    }),
    ("energy drift", |row| {
        share(row.world.as_ref()?.energy_drift.mean)
    }),
    ("reflection error", |row| {
        degrees(row.world.as_ref()?.reflection_error)
    }),
    ("collision error", |row| {
        degrees(row.world.as_ref()?.collision_error)
    }),
    ("trajectory error, sides", |row| {
        let error = row.world.as_ref()?.trajectory_error.mean?;
        Some(format!("{error:.4}"))
    }),
    ("still", |row| {
        share(Some(row.world.as_ref()?.failures.stillness))
    }),
    ("duplicating", |row| {
        share(Some(row.world.as_ref()?.failures.duplication))
    }),
    ("losing shapes", |row| {
        share(Some(row.world.as_ref()?.failures.disappearance))
    }),
];

fn share(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{:.1} %", 100.0 * value))
}

fn distance(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.1}"))
}

fn degrees(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.1}°"))
}

impl Report {
    /// None as long as a clip is missing.
    ///
    /// # Errors
    /// If sets of clips cannot be compared.
    pub(super) fn new(
        settings: &Settings,
        records: &Records,
        device: &Device,
    ) -> anyhow::Result<Option<Self>> {
        let row = |source: String| -> Option<Row> {
            let measures: Vec<&Measures> = (0..settings.samples)
                .map(|clip| records.get(&source, clip))
                .collect::<Option<_>>()?;
            let worlds: Vec<_> = measures.iter().filter_map(|m| m.world.as_ref()).collect();
            Some(Row {
                source,
                world: (!worlds.is_empty()).then(|| PhysicsReport::new(worlds)),
                psnr: mean(measures.iter().filter_map(|m| m.psnr)),
                ssim: mean(measures.iter().filter_map(|m| m.ssim)),
                lpips: mean(measures.iter().filter_map(|m| m.lpips)),
                distances: Distances::default(),
            })
        };
        let sources = settings.sources.iter();
        let rows: Option<Vec<Row>> = sources.map(|source| row(source.to_string())).collect();
        let Some(mut sources) = rows else {
            return Ok(None);
        };
        for (row, distances) in sources
            .iter_mut()
            .zip(distances(settings, records, device)?)
        {
            row.distances = distances;
        }
        Ok(Some(Self {
            protocol: settings.protocol.clone(),
            samples: settings.samples,
            sources,
        }))
    }

    /// The figures of every source: the names of the columns, then a row a source.
    pub(super) fn cells(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let used: Vec<&Column> = COLUMNS
            .iter()
            .filter(|(_, figure)| self.sources.iter().any(|row| figure(row).is_some()))
            .collect();
        let cells = |row: &Row| {
            let figure = |column: &&Column| column.1(row).unwrap_or_default();
            used.iter().map(figure).collect()
        };
        (
            used.iter().map(|column| column.0).collect(),
            self.sources.iter().map(cells).collect(),
        )
    }

    /// The figures for a terminal, a line for each with the sources side by side.
    pub(super) fn table(&self) -> String {
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

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
