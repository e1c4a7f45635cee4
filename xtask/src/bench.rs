//! `cargo xtask bench`: runs the benches and prints one table of what they measured.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::workspace::{Workspace, cargo};

#[derive(Args)]
pub struct Options {
    /// Benches to run, such as schedulers or vae [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Device to measure on, a name of `ar-sample devices`
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Backends to build in besides the CPU's, such as cuda or vulkan
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,
    /// Prints the table in Markdown
    #[arg(long)]
    markdown: bool,
}

pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let start = SystemTime::now();
    let mut command = cargo();
    command
        .current_dir(&workspace.root)
        .env("AR_DEVICE", &options.device)
        .args(["bench", "--package", "ar-benches"]);
    for name in &options.names {
        command.args(["--bench", name]);
    }
    if let Some(features) = &options.features {
        command.args(["--features", features]);
    }
    if !command.status().context("cargo")?.success() {
        bail!("the benches did not finish");
    }

    let mut rows = Vec::new();
    collect(&workspace.target.join("criterion"), start, &mut rows)?;
    rows.sort_by_key(|row| row.measured);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\n{}, {cores} cores; device {}; {}; commit {}\n",
        processor(),
        options.device,
        utc(start),
        workspace.commit()?
    );
    print!("{}", table(&rows, options.markdown));
    Ok(ExitCode::SUCCESS)
}

/// What criterion found out about one bench.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    measured: SystemTime,
    /// Median and the ends of its 95 % confidence interval, in nanoseconds.
    median: f64,
    low: f64,
    high: f64,
    /// What one iteration works through, and its unit.
    work: Option<(f64, &'static str)>,
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
                let benchmark = json(&path.join("benchmark.json"))?;
                rows.push(row(&benchmark, &json(&estimates)?, measured)?);
            }
        } else {
            collect(&path, start, rows)?;
        }
    }
    Ok(())
}

fn json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn row(benchmark: &Value, estimates: &Value, measured: SystemTime) -> Result<Row> {
    let name = benchmark["full_id"]
        .as_str()
        .context("full_id is missing")?;
    let median = &estimates["median"];
    let number = |value: &Value| {
        value
            .as_f64()
            .with_context(|| format!("{name}: the median is missing"))
    };
    // The benches count frames (see ar-benches).
    let units = [
        ("Elements", "frames"),
        ("Bytes", "bytes"),
        ("BytesDecimal", "bytes"),
    ];
    let throughput = &benchmark["throughput"];
    Ok(Row {
        name: name.to_owned(),
        measured,
        median: number(&median["point_estimate"])?,
        low: number(&median["confidence_interval"]["lower_bound"])?,
        high: number(&median["confidence_interval"]["upper_bound"])?,
        work: units
            .iter()
            .find_map(|(key, unit)| Some((throughput[key].as_f64()?, *unit))),
    })
}

/// The rows under a heading, aligned; in Markdown where asked.
fn table(rows: &[Row], markdown: bool) -> String {
    let mut cells = vec![["bench", "median", "low", "high", "throughput"].map(String::from)];
    for row in rows {
        let throughput = row.work.map_or_else(String::new, |(amount, unit)| {
            format!("{} {unit}/s", rate(amount / row.median * 1e9))
        });
        cells.push([
            row.name.clone(),
            duration(row.median),
            duration(row.low),
            duration(row.high),
            throughput,
        ]);
    }
    let length = |text: &str| text.chars().count();
    let width = |column: usize| cells.iter().map(|row| length(&row[column])).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let (left, between, right) = match markdown {
        true => ("| ", " | ", " |"),
        false => ("", "  ", ""),
    };
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        let padded: [String; 5] = std::array::from_fn(|column| match column {
            0 => format!("{:<1$}", row[column], widths[column]),
            _ => format!("{:>1$}", row[column], widths[column]),
        });
        let line = format!("{left}{}{right}", padded.join(between));
        text += line.trim_end();
        text.push('\n');
        if markdown && index == 0 {
            text += "|---|---:|---:|---:|---:|\n";
        }
    }
    text
}

/// Nanoseconds in the unit that reads best.
fn duration(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let (scale, unit) = units
        .into_iter()
        .find(|&(scale, _)| nanoseconds >= scale)
        .unwrap_or((1.0, "ns"));
    format!("{} {unit}", significant(nanoseconds / scale))
}

/// A number per second, in thousands or millions where it is large.
fn rate(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", significant(value / 1e6)),
        value if value >= 1e4 => format!("{} k", significant(value / 1e3)),
        value => significant(value),
    }
}

/// Three digits, or all before the point.
fn significant(value: f64) -> String {
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// The processor's name.
fn processor() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// A moment in UTC, to the minute.
fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    // Years that begin in March put the leap day last (Hinnant, "chrono-compatible low-level date
    // algorithms", civil_from_days); 719 468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (minutes / 60, minutes % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(1_000_000_000), "2001-09-09 01:46 UTC");
        assert_eq!(at(4_102_444_799), "2099-12-31 23:59 UTC");
    }

    #[test]
    fn a_table_lines_up() -> Result<()> {
        let benchmark = r#"{"full_id": "fopp/16_frames", "throughput": {"Elements": 16}}"#;
        let estimates = r#"{"median": {"point_estimate": 800.0,
            "confidence_interval": {"lower_bound": 790.4, "upper_bound": 1234.5}}}"#;
        let row = row(
            &serde_json::from_str(benchmark)?,
            &serde_json::from_str(estimates)?,
            UNIX_EPOCH,
        )?;
        assert_eq!(
            table(&[row], false),
            "bench           median     low     high       throughput\n\
             fopp/16_frames  800 ns  790 ns  1.23 µs  20.0 M frames/s\n"
        );
        Ok(())
    }
}
