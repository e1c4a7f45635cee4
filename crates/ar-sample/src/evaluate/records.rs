//! Measures of single clips on disk: one line of JSON a clip, in a file for each part of the work.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ar_data::Shard;
use ar_files::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metrics::Measures;
use super::settings::Protocol;

/// The measures of all clips that are measured so far, by whichever run.
pub struct Records {
    measures: BTreeMap<String, BTreeMap<usize, Measures>>,
    path: PathBuf,
    file: File,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    source: String,
    clip: usize,
    #[serde(flatten)]
    measures: Measures,
}

impl Records {
    /// Reads what `folder` has, or begins it. Lines that are not complete were being written when
    /// their run ended, and are made again.
    ///
    /// # Errors
    /// If the folder holds another evaluation or something else, or cannot be written.
    pub fn open(folder: &Path, protocol: &Protocol, shard: Shard) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot make", folder.display()))?;
        agree(&folder.join("protocol.json"), protocol)?;
        let path = folder.join(match shard {
            Shard { count: 1, .. } => "clips.jsonl".into(),
            Shard { index, count } => format!("clips-{index}-of-{count}.jsonl"),
        });
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .with_context(|| format!("{}: cannot write", path.display()))?;
        let mut records = Self {
            measures: BTreeMap::new(),
            path,
            file,
        };
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                let complete = records.read(&path)?;
                if path == records.path {
                    records
                        .file
                        .set_len(complete)
                        .with_context(|| path.display().to_string())?;
                }
            }
        }
        Ok(records)
    }

    /// Reads a file; the length of its complete lines.
    fn read(&mut self, path: &Path) -> anyhow::Result<u64> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        for (number, line) in text[..complete].lines().enumerate() {
            let record: Record = serde_json::from_str(line).with_context(|| {
                format!(
                    "{}: line {} is no record of a clip",
                    path.display(),
                    number + 1
                )
            })?;
            self.insert(record);
        }
        Ok(complete as u64)
    }

    fn insert(&mut self, record: Record) {
        let clips = self.measures.entry(record.source).or_default();
        clips.insert(record.clip, record.measures);
    }

    /// Whether a clip is measured.
    pub fn has(&self, source: &str, clip: usize) -> bool {
        self.get(source, clip).is_some()
    }

    /// The measures of a clip.
    pub fn get(&self, source: &str, clip: usize) -> Option<&Measures> {
        self.measures.get(source)?.get(&clip)
    }

    /// Writes down the measures of a clip.
    ///
    /// # Errors
    /// If that fails.
    pub fn add(&mut self, source: &str, clip: usize, measures: Measures) -> anyhow::Result<()> {
        let record = Record {
            source: source.into(),
            clip,
            measures,
        };
        let line = serde_json::to_string(&record).expect("measures are plain values") + "\n";
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("{}: cannot write", self.path.display()))?;
        self.insert(record);
        Ok(())
    }
}

/// Writes the protocol, or compares it with the one that is there.
fn agree(path: &Path, protocol: &Protocol) -> anyhow::Result<()> {
    let ours = serde_json::to_value(protocol).expect("a protocol is plain values");
    if !path.is_file() {
        let text = serde_json::to_string_pretty(&ours).expect("plain values") + "\n";
        return write_atomically(path, text.as_bytes())
            .with_context(|| format!("{}: cannot write", path.display()));
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let theirs: Value =
        serde_json::from_str(&text).with_context(|| format!("{}: is damaged", path.display()))?;
    let fields = ours.as_object().expect("a protocol has fields");
    for (field, value) in fields {
        if theirs.get(field) != Some(value) {
            bail!(
                "{} holds another evaluation ({field} is {} there and {value} now); choose another \
                 --out, or remove that folder",
                path.parent().unwrap_or(path).display(),
                theirs.get(field).unwrap_or(&Value::Null)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Shard = Shard { index: 0, count: 1 };

    fn protocol(seed: u64) -> Protocol {
        Protocol {
            model: "m".into(),
            model_fingerprint: "0".into(),
            data: "d".into(),
            videos: None,
            frames: 16,
            prefix_frames: 0,
            metrics: Vec::new(),
            steps: 50,
            eta: 0.0,
            guidance: 1.0,
            seed,
        }
    }

    fn psnr(psnr: f64) -> Measures {
        Measures {
            psnr: Some(psnr),
            ..Measures::default()
        }
    }

    #[test]
    fn a_run_that_was_killed_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Records::open(folder.path(), &protocol(1), WHOLE).unwrap();
        let mut records = open();
        records.add("a", 0, psnr(30.0)).unwrap();
        records.add("b", 0, psnr(31.0)).unwrap();
        drop(records);
        let file = folder.path().join("clips.jsonl");
        let mut text = fs::read_to_string(&file).unwrap();
        text.truncate(text.len() - 5); // In the middle of a line.
        fs::write(&file, text).unwrap();

        let mut records = open();
        assert!(records.has("a", 0) && !records.has("b", 0));
        records.add("b", 0, psnr(32.0)).unwrap();
        drop(records);
        assert_eq!(open().get("b", 0), Some(&psnr(32.0)));
    }

    #[test]
    fn parts_see_each_other() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..2 {
            let shard = Shard { index, count: 2 };
            let mut records = Records::open(folder.path(), &protocol(1), shard).unwrap();
            assert_eq!(records.has("a", 0), index == 1);
            records.add("a", index, psnr(30.0)).unwrap();
        }
        let records = Records::open(folder.path(), &protocol(1), WHOLE).unwrap();
        assert!(records.has("a", 0) && records.has("a", 1));
    }

    #[test]
    fn other_evaluations_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        Records::open(folder.path(), &protocol(1), WHOLE).unwrap();
        let error = Records::open(folder.path(), &protocol(2), WHOLE)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("seed is 1 there and 2 now"),
            "{error}"
        );

        fs::write(folder.path().join("clips.jsonl"), "nonsense\n").unwrap();
        let error = Records::open(folder.path(), &protocol(1), WHOLE)
            .err()
            .unwrap();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
