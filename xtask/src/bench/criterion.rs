//! The results of criterion.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::Value;

use super::json;
use crate::table::{duration, rate, table};

/// The results of criterion for one bench.
pub(super) struct Row {
    pub name: String,
    measured: SystemTime,
    /// Median and the ends of its 95 % confidence interval, in seconds.
    pub median: f64,
    low: f64,
    high: f64,
    /// Frames or clips per iteration.
    elements: f64,
}

impl Row {
    /// What the bench counts: clips when reading data, otherwise frames.
    fn unit(&self) -> &'static str {
        if self.name.starts_with("data_") {
            "clips"
        } else {
            "frames"
        }
    }
}

/// The results below `folder` that are not older than `start`, in the order of measurement.
pub(super) fn read(folder: &Path, start: SystemTime) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if folder.is_dir() {
        collect(folder, start, &mut rows)?;
    }
    rows.sort_by_key(|row| row.measured);
    Ok(rows)
}

/// Adds the results below `folder` that are not older than `start`.
fn collect(folder: &Path, start: SystemTime, rows: &mut Vec<Row>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("estimates.json");
        let measured = fs::metadata(&estimates).and_then(|file| file.modified());
        if path.ends_with("new")
            && let Ok(measured) = measured
        {
            if measured >= start {
                let benchmark = json::read(&path.join("benchmark.json"))?;
                rows.push(row(&benchmark, &json::read(&estimates)?, measured)?);
            }
        } else {
            collect(&path, start, rows)?;
        }
    }
    Ok(())
}

fn row(benchmark: &Value, estimates: &Value, measured: SystemTime) -> Result<Row> {
    let name = benchmark["full_id"]
        .as_str()
        .context("full_id is missing")?;
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    let number = |value: &Value, what| {
        value
            .as_f64()
            .with_context(|| format!("{name}: the {what} is missing"))
    };
    let seconds = |value| Ok::<_, anyhow::Error>(number(value, "median")? * 1e-9);
    Ok(Row {
        name: name.to_owned(),
        measured,
        median: seconds(&median["point_estimate"])?,
        low: seconds(&interval["lower_bound"])?,
        high: seconds(&interval["upper_bound"])?,
        elements: number(&benchmark["throughput"]["Elements"], "throughput")?,
    })
}

/// The rows under a heading.
pub(super) fn section(rows: &[Row]) -> String {
    let head = ["bench", "median", "low", "high", "throughput"];
    let rows: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            [
                row.name.clone(),
                duration(row.median),
                duration(row.low),
                duration(row.high),
                format!("{} {}/s", rate(row.elements / row.median), row.unit()),
            ]
        })
        .collect();
    table(head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn estimates_become_a_row() -> Result<()> {
        let estimates = r#"{"median": {"point_estimate": 800.0,
            "confidence_interval": {"lower_bound": 790.4, "upper_bound": 1234.5}}}"#;
        for (name, count, expected) in [
            (
                "fopp/16_frames",
                16,
                "| fopp/16_frames | 800 ns | 790 ns | 1.23 µs | 20.0 M frames/s |",
            ),
            (
                "data_batch/gif",
                8,
                "| data_batch/gif | 800 ns | 790 ns | 1.23 µs | 10.0 M clips/s |",
            ),
        ] {
            let benchmark = serde_json::json!({
                "full_id": name,
                "throughput": {"Elements": count},
            });
            let row = row(&benchmark, &serde_json::from_str(estimates)?, UNIX_EPOCH)?;
            assert_eq!(section(&[row]).lines().last(), Some(expected));
        }
        Ok(())
    }
}
