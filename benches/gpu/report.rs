//! The results, as files that are complete after every record.

use std::fs;
use std::path::{Path, PathBuf};

use crate::record::{Record, Time};

/// The records so far, and the folder that they are written to.
pub(crate) struct Report {
    folder: PathBuf,
    records: Vec<Record>,
}

impl Report {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            records: Vec::new(),
        }
    }

    /// Prints a record and rewrites the files.
    #[allow(clippy::print_stdout)]
    pub(crate) fn add(&mut self, record: Record) -> anyhow::Result<()> {
        println!("   {}", record.line());
        self.records.push(record);
        let json = serde_json::to_string_pretty(&self.records)?;
        fs::write(self.folder.join("results.json"), json)?;
        fs::write(self.folder.join("results.md"), self.markdown())?;
        Ok(())
    }

    /// Whether something differs or failed.
    pub(crate) fn is_bad(&self) -> bool {
        self.records.iter().any(Record::is_bad)
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        let commit = option_env!("AR_COMMIT").unwrap_or("unknown");
        text += &format!("Commit {commit}.\n\n");
        for record in &self.records {
            if matches!(record, Record::Device { .. } | Record::Growth { .. }) {
                text += &format!("- {}\n", record.line());
            }
        }
        let checks = self.records.iter().filter_map(|record| match record {
            Record::Check {
                device,
                difference,
                tolerance,
                ..
            } => Some((device, difference, tolerance)),
            _ => None,
        });
        let checks: Vec<_> = checks.collect();
        if !checks.is_empty() {
            let equal = checks
                .iter()
                .filter(|(_, found, most)| found <= most)
                .count();
            text += &format!("- {equal} of {} comparisons are equal\n", checks.len());
        }
        for record in self.records.iter().filter(|record| record.is_bad()) {
            text += &format!("- {}\n", record.line());
        }
        text += "\n| network | precision | work | side | time | first run | memory |\n";
        text += "|---|---|---|---|---:|---:|---:|\n";
        for time in self.times() {
            text += &format!(
                "| {} | {} | {} | {} | {} | {:.1} s | {} |\n",
                time.network,
                time.precision,
                time.work,
                time.side,
                duration(time.seconds),
                time.first_seconds,
                time.memory_bytes
                    .map_or(String::new(), |bytes| format!("{} MiB", bytes >> 20)),
            );
        }
        text
    }

    /// The times, with comparable ones next to each other.
    fn times(&self) -> Vec<&Time> {
        let mut times: Vec<&Time> = self
            .records
            .iter()
            .filter_map(|record| match record {
                Record::Time(time) => Some(time),
                _ => None,
            })
            .collect();
        times.sort_by_key(|time| (&time.network, &time.precision, &time.work));
        times
    }
}

fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}
