//! The same networks in PyTorch, by the script in `benches/pytorch`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::table::{duration, ratio, table};

/// What the script needs.
const MODULES: &str = "import tomllib, torch, safetensors.torch";

/// The benches whose networks the script runs, in its order.
pub(super) const BENCHES: [&str; 3] = ["transformer", "training", "sampling"];

/// Something that was measured here.
pub(super) struct Measured {
    pub name: String,
    /// What the script calls the same.
    pub counterpart: String,
    pub seconds: f64,
}

/// Runs the script on what `benches` of [`BENCHES`] have left in `folder`, and compares. A section in
/// either case: without PyTorch it says so.
///
/// # Errors
/// If the script fails, which it does where the two implementations differ.
pub(super) fn section(
    root: &Path,
    folder: &Path,
    benches: &[&str],
    here: &[Measured],
) -> Result<String> {
    if !is_there() {
        return Ok(
            "PyTorch was not measured: that takes `python3` (3.11 or newer) with `torch` and \
             `safetensors`.\n"
                .into(),
        );
    }
    let output = python()
        .arg(root.join("benches/pytorch/compare.py"))
        .arg(folder)
        .args(benches)
        .stderr(Stdio::inherit())
        .output()
        .context("python3")?;
    ensure!(
        output.status.success(),
        "the comparison with PyTorch failed"
    );
    let report = serde_json::from_slice(&output.stdout).context("the report of compare.py")?;
    compare(&report, here)
}

fn is_there() -> bool {
    let mut command = python();
    command.args(["-c", MODULES]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Python, told to keep freed memory as the benches are (`ar_cli::run_program`).
fn python() -> Command {
    let mut python = Command::new("python3");
    python
        .env("MALLOC_MMAP_THRESHOLD_", (1 << 30).to_string())
        .env("MALLOC_TRIM_THRESHOLD_", i32::MAX.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

fn compare(report: &Value, here: &[Measured]) -> Result<String> {
    let missing = |key: &str| format!("compare.py: {key} is missing");
    let seconds = report["seconds"].as_object();
    let seconds: BTreeMap<&str, f64> = seconds
        .with_context(|| missing("seconds"))?
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)))
        .collect();
    let rows = here.iter().filter_map(|measured| {
        let theirs = *seconds.get(measured.counterpart.as_str())?;
        Some([
            measured.name.clone(),
            duration(theirs),
            duration(measured.seconds),
            ratio(theirs, measured.seconds),
        ])
    });
    let rows: Vec<_> = rows.collect();
    let differences = report["differences"].as_object();
    let differences: Vec<String> = differences
        .with_context(|| missing("differences"))?
        .iter()
        .filter_map(|(what, value)| Some(format!("{what} {:.1e}", value.as_f64()?)))
        .collect();
    Ok(format!(
        "## Against PyTorch\n\n\
         PyTorch {}, f32, {} threads. Largest relative differences: {}.\n\n{}",
        report["torch"].as_str().with_context(|| missing("torch"))?,
        report["threads"],
        differences.join(", "),
        table(["bench", "PyTorch", "here", "PyTorch / here"], &rows)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_meet_by_name() -> Result<()> {
        let report = json!({
            "torch": "2.15.0",
            "threads": 2,
            "differences": {"latents": 1.23e-6, "outputs of the network": 4e-7},
            "seconds": {"transformer_forward/small": 0.009, "sampling/small/ar_step_5": 1.5},
        });
        let measured = |name: &str, counterpart: &str, seconds| Measured {
            name: name.into(),
            counterpart: counterpart.into(),
            seconds,
        };
        let here = [
            measured("fopp/16_frames", "fopp/16_frames", 1e-6),
            measured("sampling/full", "sampling/small/ar_step_5", 1.0),
            measured("sampling/active", "sampling/small/ar_step_5", 0.25),
        ];
        let text = compare(&report, &here)?;
        let differences = "latents 1.2e-6, outputs of the network 4.0e-7.";
        assert!(text.contains(differences), "{text}");
        let rows: Vec<&str> = text.lines().skip(6).collect();
        assert_eq!(
            rows,
            [
                "| sampling/full   |  1.50 s | 1.00 s |          1.50x |",
                "| sampling/active |  1.50 s | 250 ms |          6.00x |",
            ]
        );
        Ok(())
    }
}
