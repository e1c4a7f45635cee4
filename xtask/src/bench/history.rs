//! `benches/history.jsonl`: how much faster than PyTorch the benches were, run by run, to notice when something becomes
//! slower. It has ratios within a run rather than times, because a busy machine slows down both sides.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::pytorch::Comparison;
use crate::machine;
use crate::table::{ratio, table};

/// A ratio below this fraction of the last one is a regression.
const TOLERATED: f64 = 0.9;

/// The history in a workspace.
pub(super) struct History {
    path: PathBuf,
}

/// What ratios depend on besides the code: they are only compared within one kind of machine.
fn kind(cores: usize) -> Value {
    json!({
        "processor": machine::processor(),
        "cores": cores,
        "instructions": machine::instructions(),
    })
}

impl History {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            path: root.join("benches/history.jsonl"),
        }
    }

    /// Adds a run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn add(
        &self,
        date: &str,
        commit: &str,
        cores: usize,
        comparison: &Comparison,
    ) -> Result<()> {
        let entry = json!({
            "date": date,
            "commit": commit,
            "machine": kind(cores),
            "pytorch": comparison.version,
            "ratios": comparison.ratios,
        });
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path);
        let written = file.and_then(|mut file| writeln!(file, "{entry}"));
        written.with_context(|| self.path.display().to_string())
    }

    /// A table of the ratios that are a tenth worse than the last ones of the same bench on this kind of machine; None
    /// if there are none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn regressions(
        &self,
        cores: usize,
        comparison: &Comparison,
    ) -> Result<Option<String>> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.with_context(|| self.path.display().to_string())?,
        };
        let last = last(&text, &kind(cores)).with_context(|| self.path.display().to_string())?;
        Ok(worse(&last, &comparison.ratios))
    }
}

/// The last ratio of each bench on a kind of machine, and its commit.
fn last(text: &str, kind: &Value) -> Result<BTreeMap<String, (f64, String)>> {
    let mut last = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let entry: Value =
            serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        if entry["machine"] != *kind {
            continue;
        }
        let commit = entry["commit"].as_str().unwrap_or_default();
        for (name, ratio) in entry["ratios"].as_object().into_iter().flatten() {
            if let Some(ratio) = ratio.as_f64() {
                last.insert(name.clone(), (ratio, commit.to_owned()));
            }
        }
    }
    Ok(last)
}

fn worse(last: &BTreeMap<String, (f64, String)>, ratios: &BTreeMap<String, f64>) -> Option<String> {
    let rows: Vec<[String; 4]> = ratios
        .iter()
        .filter_map(|(name, &now)| {
            let (before, commit) = last.get(name)?;
            (now < before * TOLERATED).then(|| {
                [
                    name.clone(),
                    format!("{} ({commit})", ratio(*before, 1.0)),
                    ratio(now, 1.0),
                    ratio(now, *before),
                ]
            })
        })
        .collect();
    (!rows.is_empty()).then(|| table(["bench", "last ratio", "ratio", "now / last"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(ratio: f64) -> Comparison {
        Comparison {
            text: String::new(),
            version: "2.15.0".into(),
            ratios: BTreeMap::from([("forward".into(), ratio)]),
        }
    }

    #[test]
    fn what_became_slower_by_a_tenth_is_told() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("benches"))?;
        let history = History::new(folder.path());
        let regressions = |cores, ratio| history.regressions(cores, &comparison(ratio));
        assert_eq!(
            regressions(2, 0.1)?,
            None,
            "there is nothing to compare with"
        );
        history.add("2026-01-01", "aaaa", 2, &comparison(3.0))?;
        history.add("2026-01-02", "bbbb", 2, &comparison(2.0))?;
        history.add("2026-01-03", "cccc", 8, &comparison(9.0))?;
        assert_eq!(regressions(2, 1.85)?, None);
        assert_eq!(regressions(4, 0.1)?, None, "no such machine was measured");
        let told = regressions(2, 1.5)?.expect("a regression");
        let row = told.lines().last().unwrap_or_default();
        for cell in ["forward", "2.00x (bbbb)", "1.50x", "0.75x"] {
            assert!(row.contains(cell), "{told}");
        }
        Ok(())
    }

    #[test]
    fn a_damaged_line_is_named() {
        let error = last("{}\n{", &Value::Null).expect_err("no JSON");
        assert_eq!(error.to_string(), "line 2");
    }
}
