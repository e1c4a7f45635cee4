//! The same networks in PyTorch, by the script in `benches/pytorch`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::machine;
use crate::table::{duration, ratio, table};

/// The modules that the script needs.
const MODULES: &str = "import tomllib, torch, safetensors.torch";

/// The benches whose networks the script runs, in its order.
pub(super) const BENCHES: [&str; 4] = ["transformer", "training", "sampling", "tokenizer"];

/// The ways in which the script runs a network in f32.
const F32: [&str; 2] = ["eager", "compiled"];

/// The comparison, and the parts of it for the history.
pub(super) struct Comparison {
    /// A section.
    pub text: String,
    /// The version of PyTorch.
    pub version: String,
    /// The time of the faster way of [`F32`] divided by our time, by bench.
    pub ratios: BTreeMap<String, f64>,
}

/// A measurement of ours.
pub(super) struct Measured {
    pub name: String,
    /// The name of the same measurement in the script.
    pub counterpart: String,
    pub seconds: f64,
}

/// Printed if there is no PyTorch.
pub(super) const MISSING: &str = "PyTorch was not measured: that takes `python3` (3.11 or newer) with \
                                  `torch` and `safetensors`.\n";

/// Runs the script on the files of `benches` (of [`BENCHES`]) in `folder`, and compares; None without PyTorch.
///
/// # Errors
/// If the script fails, as it does if the two implementations differ.
pub(super) fn comparison(
    root: &Path,
    folder: &Path,
    benches: &[&str],
    here: &[Measured],
) -> Result<Option<Comparison>> {
    if !is_there() {
        return Ok(None);
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
    compare(&report, here).map(Some)
}

fn is_there() -> bool {
    let mut command = python();
    command.args(["-c", MODULES]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Python, set to keep freed memory like the benches (`ar_cli::run_program`).
fn python() -> Command {
    let mut python = Command::new("python3");
    python
        .env("MALLOC_MMAP_THRESHOLD_", (1 << 30).to_string())
        .env("MALLOC_TRIM_THRESHOLD_", i32::MAX.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

fn compare(report: &Value, here: &[Measured]) -> Result<Comparison> {
    let missing = |key: &str| format!("compare.py: {key} is missing");
    let text = |key: &str| report[key].as_str().with_context(|| missing(key));
    let seconds = report["seconds"].as_object();
    let seconds = seconds.with_context(|| missing("seconds"))?;
    let mut rows = Vec::new();
    let mut ratios = BTreeMap::new();
    for measured in here {
        let Some(theirs) = seconds.get(&measured.counterpart) else {
            continue;
        };
        let by_way = |way: &str| theirs[way].as_f64();
        let cell = |way: &str| by_way(way).map_or_else(String::new, duration);
        let fastest = F32.iter().filter_map(|way| by_way(way)).reduce(f64::min);
        let fastest = fastest.with_context(|| missing(&measured.counterpart))?;
        rows.push([
            measured.name.clone(),
            cell("eager"),
            cell("compiled"),
            cell("bf16"),
            duration(measured.seconds),
            ratio(fastest, measured.seconds),
        ]);
        ratios.insert(measured.name.clone(), fastest / measured.seconds);
    }
    let differences = report["differences"].as_object();
    let differences: Vec<String> = differences
        .with_context(|| missing("differences"))?
        .iter()
        .filter_map(|(what, value)| Some(format!("{what} {:.1e}", value.as_f64()?)))
        .collect();
    let head = [
        "bench",
        "eager",
        "compiled",
        "bf16",
        "here",
        "best f32 / here",
    ];
    let version = text("torch")?.to_owned();
    let text = format!(
        "## Against PyTorch\n\n\
         PyTorch {version}, {} threads, f32 but where it says bf16 (by autocast). Vector instructions: \
         {} there, {} here. Largest relative differences: {}.\n\n{}",
        report["threads"],
        text("instructions")?,
        machine::instructions(),
        differences.join(", "),
        table(head, &rows)
    );
    Ok(Comparison {
        text,
        version,
        ratios,
    })
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
            "instructions": "AVX2",
            "seconds": {
                "transformer_forward/small": {"eager": 0.009},
                "sampling/small/ar_step_5": {"eager": 1.5, "compiled": 1.25, "bf16": 0.5},
            },
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
        let Comparison { text, ratios, .. } = compare(&report, &here)?;
        let differences = "latents 1.2e-6, outputs of the network 4.0e-7.";
        assert!(text.contains(differences), "{text}");
        assert!(text.contains("AVX2 there"), "{text}");
        let rows: Vec<&str> = text.lines().skip(6).collect();
        assert_eq!(
            rows,
            [
                "| sampling/full   | 1.50 s |   1.25 s | 500 ms | 1.00 s |           1.25x |",
                "| sampling/active | 1.50 s |   1.25 s | 500 ms | 250 ms |           5.00x |",
            ]
        );
        assert_eq!(ratios["sampling/active"], 5.0);
        assert_eq!(ratios.len(), 2);
        Ok(())
    }
}
