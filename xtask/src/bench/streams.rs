//! The results of the benches of whole sampling runs, `sampling` and `long_stream`.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::table::{duration, ratio, significant, table};

/// A sampling run with each sampler.
pub(super) struct Sampling {
    network: String,
    ar_step: u64,
    turns: u64,
    full_window: Times,
    active_frames: Times,
}

struct Times {
    seconds: f64,
    first_frame: f64,
    frame_evaluations: f64,
}

impl Sampling {
    /// The rows of `results.json`.
    pub(super) fn read(results: &Value) -> Result<Vec<Self>> {
        list(results)?.iter().map(Self::row).collect()
    }

    fn row(row: &Value) -> Result<Self> {
        let integer = |key: &str| row[key].as_u64().with_context(|| missing(key));
        Ok(Self {
            network: row["network"]
                .as_str()
                .with_context(|| missing("network"))?
                .to_owned(),
            ar_step: integer("ar_step")?,
            turns: integer("turns")?,
            full_window: Times::read(&row["full_window"])?,
            active_frames: Times::read(&row["active_frames"])?,
        })
    }

    /// The name under which another implementation measures the same.
    pub(super) fn name(&self) -> String {
        format!("sampling/{}/ar_step_{}", self.network, self.ar_step)
    }

    /// Both samplers by name, with their seconds.
    pub(super) fn seconds(&self) -> [(&'static str, f64); 2] {
        [
            ("full_window", self.full_window.seconds),
            ("active_frames", self.active_frames.seconds),
        ]
    }

    /// The rows with their headings.
    pub(super) fn section(rows: &[Self]) -> String {
        let head = [
            "network",
            "s",
            "full window",
            "active frames",
            "full / active",
            "by evaluations",
            "turns",
        ];
        let times = rows.iter().map(|row| {
            let (full, active) = (&row.full_window, &row.active_frames);
            [
                row.network.clone(),
                row.ar_step.to_string(),
                duration(full.seconds),
                duration(active.seconds),
                ratio(full.seconds, active.seconds),
                ratio(full.frame_evaluations, active.frame_evaluations),
                row.turns.to_string(),
            ]
        });
        let times: Vec<_> = times.collect();
        let first_head = [
            "network",
            "s",
            "full window",
            "active frames",
            "full / active",
        ];
        let first = rows.iter().map(|row| {
            let (full, active) = (row.full_window.first_frame, row.active_frames.first_frame);
            [
                row.network.clone(),
                row.ar_step.to_string(),
                duration(full),
                duration(active),
                ratio(full, active),
            ]
        });
        let first: Vec<_> = first.collect();
        format!(
            "## Full windows against active frames\n\n{}\nUntil the first frame is finished:\n\n{}",
            table(head, &times),
            table(first_head, &first)
        )
    }
}

impl Times {
    fn read(times: &Value) -> Result<Self> {
        let number = |key: &str| times[key].as_f64().with_context(|| missing(key));
        Ok(Self {
            seconds: number("seconds")?,
            first_frame: number("first_frame_seconds")?,
            frame_evaluations: number("frame_evaluations")?,
        })
    }
}

/// The table of `long_stream` with its heading, from its `results.json`.
pub(super) fn long_stream(results: &Value) -> Result<String> {
    let rows = list(results)?.iter().map(|row| {
        let number = |key: &str| row[key].as_f64().with_context(|| missing(key));
        let memory = row["memory_bytes"].as_f64();
        Ok([
            row["frames"].to_string(),
            significant(number("frames_per_second")?),
            memory.map_or_else(
                || "unknown".into(),
                |bytes| format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
            ),
        ])
    });
    let rows: Vec<[String; 3]> = rows.collect::<Result<_>>()?;
    Ok(format!(
        "## A long stream\n\n{}",
        table(["frames", "frames/s", "resident memory"], &rows)
    ))
}

fn list(results: &Value) -> Result<&Vec<Value>> {
    results.as_array().context("results.json: not a list")
}

fn missing(key: &str) -> String {
    format!("results.json: {key} is missing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn samplers_are_compared() -> Result<()> {
        let times = |seconds, first, evaluations| {
            json!({
                "seconds": seconds,
                "first_frame_seconds": first,
                "frame_evaluations": evaluations,
            })
        };
        let results = json!([{
            "network": "small",
            "ar_step": 50,
            "turns": 3,
            "full_window": times(8.0, 0.5, 12_800),
            "active_frames": times(0.5, 0.025, 815),
        }]);
        let rows = Sampling::read(&results)?;
        assert_eq!(rows[0].name(), "sampling/small/ar_step_50");
        let text = Sampling::section(&rows);
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("small")).collect();
        let cells = |row: &str| {
            row.split('|')
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        let expected = ["small", "50", "8.00 s", "500 ms", "16.0x", "15.7x", "3"];
        assert_eq!(cells(rows[0]), expected);
        let expected = ["small", "50", "500 ms", "25.0 ms", "20.0x"];
        assert_eq!(cells(rows[1]), expected);
        Ok(())
    }

    #[test]
    fn memory_may_be_unknown() -> Result<()> {
        let results = json!([
            {"frames": 250, "frames_per_second": 40.0, "memory_bytes": 104_857_600},
            {"frames": 500, "frames_per_second": 41.26, "memory_bytes": null},
        ]);
        let text = long_stream(&results)?;
        let rows: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "| 250    |     40.0 |       100.0 MiB |",
                "| 500    |     41.3 |         unknown |",
            ]
        );
        Ok(())
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Sampling::read(&json!([{"network": "small"}])).err();
        let message = error.map(|error| error.to_string());
        assert_eq!(message.as_deref(), Some("results.json: ar_step is missing"));
    }
}
