use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::scalars::Scalars;
use crate::error::{Error, Result};

/// `metrics.jsonl`: one JSON object per line, each with its `step`.
pub(super) struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file and drops the lines of steps after `step`, which will be done again.
    pub(super) fn open(path: &Path, step: usize) -> Result<Self> {
        let open = || {
            let mut kept = String::new();
            for (line, _) in read(path, step)? {
                kept += &format!("{line}\n");
            }
            ar_files::write_atomically(path, kept.as_bytes())?;
            fs::OpenOptions::new().append(true).open(path)
        };
        Ok(Self {
            file: open().map_err(Error::io(path))?,
            path: path.to_owned(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&mut self, scalars: &Scalars) -> Result<()> {
        let line = serde_json::to_string(scalars).expect("names and numbers are JSON");
        writeln!(self.file, "{line}").map_err(Error::io(&self.path))
    }
}

/// The lines of steps up to `last`, as text and parsed. A line that does not parse was cut off when
/// the process was killed.
pub(super) fn read(path: &Path, last: usize) -> std::io::Result<Vec<(String, Value)>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    let parsed = text.lines().filter_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        let step = value["step"].as_u64()?;
        (step <= last as u64).then(|| (line.to_owned(), value))
    });
    Ok(parsed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_done_again_are_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let write = |file: &mut MetricsFile, step| {
            let values = vec![("loss".to_owned(), 0.25)];
            file.write(&Scalars { step, values }).expect("a line");
        };
        let mut file = MetricsFile::open(&path, 0).expect("a file");
        for step in [2, 4, 6] {
            write(&mut file, step);
        }
        // A line that a killed process did not finish.
        let mut text = fs::read_to_string(&path).expect("text");
        text += "{\"step\": 3, \"lo";
        fs::write(&path, text).expect("text");

        let mut file = MetricsFile::open(&path, 4).expect("a file");
        write(&mut file, 5);
        let text = fs::read_to_string(&path).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[2], r#"{"step":5,"loss":0.25}"#);
        assert!(lines[1].contains("\"step\":4"), "{text}");
    }
}
