//! Measures of single clips on disk: one line of JSON a clip, in a file for each part of the work.
//! The features by which sets of clips are compared lie beside it as plain 32-bit floats, in a file
//! for each metric, clip by clip in the order of the lines.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ar_data::Shard;
use ar_files::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::measures::Measures;
use super::metrics::Features;
use super::settings::Protocol;

/// The measures of all clips that are measured so far, by whichever run.
pub struct Records {
    entries: BTreeMap<String, BTreeMap<usize, Entry>>,
    /// The file of this part, and how many lines it has.
    path: PathBuf,
    file: File,
    lines: usize,
    /// The files of its features.
    features: Vec<(Features, File)>,
}

/// What there is of a clip.
struct Entry {
    measures: Measures,
    /// The file and the line that has it, which is where its features are.
    path: PathBuf,
    line: usize,
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
    pub fn open(
        folder: &Path,
        protocol: &Protocol,
        features: &[Features],
        shard: Shard,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot make", folder.display()))?;
        agree(&folder.join("protocol.json"), protocol)?;
        let path = folder.join(match shard {
            Shard { count: 1, .. } => "clips.jsonl".into(),
            Shard { index, count } => format!("clips-{index}-of-{count}.jsonl"),
        });
        let mut records = Self {
            entries: BTreeMap::new(),
            file: open_to_append(&path)?,
            lines: 0,
            features: Vec::new(),
            path,
        };
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                let (lines, complete) = records.read(&path)?;
                if path == records.path {
                    records.lines = lines;
                    records
                        .file
                        .set_len(complete)
                        .with_context(|| path.display().to_string())?;
                }
            }
        }
        for &features in features {
            let path = features_path(&records.path, features);
            let file = open_to_append(&path)?;
            let expected = (records.lines * bytes(features)) as u64;
            let found = file
                .metadata()
                .with_context(|| path.display().to_string())?;
            ensure!(
                found.len() >= expected,
                "{} has {} bytes and should have {expected}: remove {}, which starts anew",
                path.display(),
                found.len(),
                folder.display()
            );
            // Those of a line that was not written any more.
            file.set_len(expected)
                .with_context(|| path.display().to_string())?;
            records.features.push((features, file));
        }
        Ok(records)
    }

    /// Reads a file; its complete lines and their length in bytes.
    fn read(&mut self, path: &Path) -> anyhow::Result<(usize, u64)> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = 0;
        for line in text[..complete].lines() {
            let record: Record = serde_json::from_str(line).with_context(|| {
                format!(
                    "{}: line {} is no record of a clip",
                    path.display(),
                    lines + 1
                )
            })?;
            self.insert(record, path.to_owned(), lines);
            lines += 1;
        }
        Ok((lines, complete as u64))
    }

    fn insert(&mut self, record: Record, path: PathBuf, line: usize) {
        let entry = Entry {
            measures: record.measures,
            path,
            line,
        };
        let clips = self.entries.entry(record.source).or_default();
        clips.insert(record.clip, entry);
    }

    /// Whether a clip is measured.
    pub fn has(&self, source: &str, clip: usize) -> bool {
        self.get(source, clip).is_some()
    }

    /// The measures of a clip.
    pub fn get(&self, source: &str, clip: usize) -> Option<&Measures> {
        Some(&self.entries.get(source)?.get(&clip)?.measures)
    }

    /// The features `[samples, width]` of a clip that is measured, flat.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn features(
        &self,
        source: &str,
        clip: usize,
        features: Features,
    ) -> anyhow::Result<Vec<f32>> {
        let entry = &self.entries[source][&clip];
        let path = features_path(&entry.path, features);
        let mut values = vec![0; bytes(features)];
        File::open(&path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start((entry.line * values.len()) as u64))?;
                file.read_exact(&mut values)
            })
            .with_context(|| format!("{}: cannot read", path.display()))?;
        let (values, _) = values.as_chunks();
        Ok(values.iter().map(|&v| f32::from_le_bytes(v)).collect())
    }

    /// Writes down the measures of a clip, and its features in the order in which this was opened
    /// with them.
    ///
    /// # Errors
    /// If that fails.
    pub fn add(
        &mut self,
        source: &str,
        clip: usize,
        measures: Measures,
        features: &[Vec<f32>],
    ) -> anyhow::Result<()> {
        // Before the line, which says that all is there.
        for ((of, file), values) in self.features.iter_mut().zip(features) {
            let values: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.write_all(&values).with_context(|| {
                format!("{}: cannot write", features_path(&self.path, *of).display())
            })?;
        }
        let record = Record {
            source: source.into(),
            clip,
            measures,
        };
        let line = serde_json::to_string(&record).expect("measures are plain values") + "\n";
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("{}: cannot write", self.path.display()))?;
        self.insert(record, self.path.clone(), self.lines);
        self.lines += 1;
        Ok(())
    }
}

fn open_to_append(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("{}: cannot write", path.display()))
}

/// The file of features that goes with a file of measures.
fn features_path(measures: &Path, features: Features) -> PathBuf {
    measures.with_extension(format!("{}.f32", features.metric.name()))
}

/// Bytes of the features of a clip.
fn bytes(features: Features) -> usize {
    features.len() * size_of::<f32>()
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
    use crate::evaluate::metrics::Metric;
    use crate::evaluate::settings::Classes;

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
            weights: BTreeMap::new(),
            classes: Classes::None,
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
        let open = || Records::open(folder.path(), &protocol(1), &[], WHOLE).unwrap();
        let mut records = open();
        records.add("a", 0, psnr(30.0), &[]).unwrap();
        records.add("b", 0, psnr(31.0), &[]).unwrap();
        drop(records);
        let file = folder.path().join("clips.jsonl");
        let mut text = fs::read_to_string(&file).unwrap();
        text.truncate(text.len() - 5); // In the middle of a line.
        fs::write(&file, text).unwrap();

        let mut records = open();
        assert!(records.has("a", 0) && !records.has("b", 0));
        records.add("b", 0, psnr(32.0), &[]).unwrap();
        drop(records);
        assert_eq!(open().get("b", 0), Some(&psnr(32.0)));
    }

    #[test]
    fn features_stay_with_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let features = Metric::Latents.features(2, [1, 1]).unwrap();
        let part = |index, count| {
            let shard = Shard { index, count };
            Records::open(folder.path(), &protocol(1), &[features], shard)
        };
        let mut first = part(0, 2).unwrap();
        first.add("a", 0, psnr(1.0), &[vec![1.0, 2.0]]).unwrap();
        // Killed between the features and the line.
        first.features[0].1.write_all(&[7; 8]).unwrap();
        let mut second = part(1, 2).unwrap();
        second.add("a", 1, psnr(1.0), &[vec![3.0, 4.0]]).unwrap();
        drop((first, second));

        let mut first = part(0, 2).unwrap();
        first.add("b", 0, psnr(1.0), &[vec![5.0, 6.0]]).unwrap();
        let whole = part(0, 1).unwrap();
        for (source, clip, expected) in [
            ("a", 0, [1.0, 2.0]),
            ("a", 1, [3.0, 4.0]),
            ("b", 0, [5.0, 6.0]),
        ] {
            assert_eq!(whole.features(source, clip, features).unwrap(), expected);
        }

        let file = folder.path().join("clips-0-of-2.latents.f32");
        fs::write(&file, [0; 8]).unwrap();
        let error = part(0, 2).err().unwrap().to_string();
        assert!(error.contains("8 bytes and should have 16"), "{error}");
    }

    #[test]
    fn parts_see_each_other() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..2 {
            let shard = Shard { index, count: 2 };
            let mut records = Records::open(folder.path(), &protocol(1), &[], shard).unwrap();
            assert_eq!(records.has("a", 0), index == 1);
            records.add("a", index, psnr(30.0), &[]).unwrap();
        }
        let records = Records::open(folder.path(), &protocol(1), &[], WHOLE).unwrap();
        assert!(records.has("a", 0) && records.has("a", 1));
    }

    #[test]
    fn other_evaluations_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        Records::open(folder.path(), &protocol(1), &[], WHOLE).unwrap();
        let error = Records::open(folder.path(), &protocol(2), &[], WHOLE)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("seed is 1 there and 2 now"),
            "{error}"
        );

        fs::write(folder.path().join("clips.jsonl"), "nonsense\n").unwrap();
        let error = Records::open(folder.path(), &protocol(1), &[], WHOLE)
            .err()
            .unwrap();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
