//! Measures of single clips on disk: one line of JSON per clip, in a file for each part of the
//! work. The features for comparing sets of clips are stored beside it as plain 32-bit floats, in a
//! file for each metric, clip by clip in the order of the lines.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ar_data::Part;
use ar_files::write_atomically;
use crc32c::crc32c;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::PROTOCOL;
use crate::{EvaluationError, Protocol};

/// The measures of one clip, by the name of the metric.
pub(crate) type Measures = BTreeMap<String, Value>;

/// The features of a clip for comparing sets of clips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// Name of the metric.
    pub metric: &'static str,
    /// Samples per clip.
    pub samples: usize,
    /// Features per sample.
    pub width: usize,
}

impl Features {
    /// Number of features per clip.
    pub(crate) fn len(self) -> usize {
        self.samples * self.width
    }

    /// Bytes of the features per clip.
    fn bytes(self) -> usize {
        self.len() * size_of::<f32>()
    }
}

/// The measures of all clips that had been measured, by any run, when they were read.
#[derive(Default)]
pub(crate) struct Records {
    entries: BTreeMap<String, BTreeMap<usize, Entry>>,
    files: BTreeMap<PathBuf, Complete>,
}

/// The complete part of a file.
#[derive(Clone, Copy, Debug, Default)]
struct Complete {
    lines: usize,
    bytes: u64,
}

/// The record of a clip.
struct Entry {
    measures: Measures,
    features: BTreeMap<String, u32>,
    /// The file and the line of the record, which determine where its features are.
    path: PathBuf,
    line: usize,
}

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    source: String,
    clip: usize,
    /// CRC-32C of the clip's features, by metric; empty in folders of older versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    features: BTreeMap<String, u32>,
    #[serde(flatten)]
    measures: Measures,
}

impl Record {
    /// The line, which ends with a checksum of the text before it.
    fn to_line(&self) -> String {
        let text = serde_json::to_string(self).expect("measures are plain values");
        let checksum = crc32c(text.as_bytes());
        let text = text.strip_suffix('}').expect("an object");
        format!("{text}{CHECKSUM}{checksum}}}\n")
    }

    /// Reads a line with these metrics; lines of older versions have no checksum.
    fn from_line(line: &str, metrics: &[&str]) -> Result<Self, String> {
        let record: Self = if let Some((text, checksum)) = line.rsplit_once(CHECKSUM) {
            let text = format!("{text}}}");
            let checksum = checksum.strip_suffix('}').and_then(|sum| sum.parse().ok());
            if checksum != Some(crc32c(text.as_bytes())) {
                return Err("its checksum is different".into());
            }
            serde_json::from_str(&text)
        } else {
            serde_json::from_str(line)
        }
        .map_err(|error| error.to_string())?;
        let mut measured = record.measures.keys();
        match measured.find(|name| !metrics.contains(&name.as_str())) {
            Some(name) => Err(format!("`{name}` is none of its metrics")),
            None => Ok(record),
        }
    }
}

/// The text before the checksum of a line.
const CHECKSUM: &str = ",\"checksum\":";

impl Records {
    /// Reads the records in `folder`, if there are any, and changes nothing there. Incomplete lines
    /// are being written, or were when their run was ended.
    ///
    /// # Errors
    /// If the folder contains another evaluation or something else.
    pub(crate) fn read(
        folder: &Path,
        protocol: &Protocol,
        features: &[Features],
    ) -> Result<Self, EvaluationError> {
        agree(folder, protocol)?;
        let mut records = Self::default();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(records),
            entries => entries.map_err(EvaluationError::read(folder))?,
        };
        for entry in entries {
            let path = entry.map_err(EvaluationError::read(folder))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                let complete = records.read_file(&path, &protocol.metrics)?;
                for &features in features {
                    check_features(&path, complete.lines, features)?;
                }
                records.files.insert(path, complete);
            }
        }
        Ok(records)
    }

    fn read_file(&mut self, path: &Path, metrics: &[&str]) -> Result<Complete, EvaluationError> {
        let text = fs::read_to_string(path).map_err(EvaluationError::read(path))?;
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = 0;
        for line in text[..complete].lines() {
            let record = Record::from_line(line, metrics).map_err(|error| {
                let line = lines + 1;
                damaged(
                    path,
                    format!("line {line} is not the record of a clip: {error}"),
                )
            })?;
            self.insert(record, path.to_owned(), lines);
            lines += 1;
        }
        Ok(Complete {
            lines,
            bytes: complete as u64,
        })
    }

    fn insert(&mut self, record: Record, path: PathBuf, line: usize) {
        let entry = Entry {
            measures: record.measures,
            features: record.features,
            path,
            line,
        };
        let clips = self.entries.entry(record.source).or_default();
        clips.insert(record.clip, entry);
    }

    /// Whether a clip has been measured.
    pub(crate) fn has(&self, source: &str, clip: usize) -> bool {
        self.get(source, clip).is_some()
    }

    /// The measures of a clip.
    pub(crate) fn get(&self, source: &str, clip: usize) -> Option<&Measures> {
        Some(&self.entries.get(source)?.get(&clip)?.measures)
    }

    /// The features `[samples, width]` of a measured clip, flattened.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn features(
        &self,
        source: &str,
        clip: usize,
        features: Features,
    ) -> Result<Vec<f32>, EvaluationError> {
        let entry = &self.entries[source][&clip];
        let path = features_path(&entry.path, features);
        let mut values = vec![0; features.bytes()];
        File::open(&path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start((entry.line * values.len()) as u64))?;
                file.read_exact(&mut values)
            })
            .map_err(EvaluationError::read(&path))?;
        let checksum = entry.features.get(features.metric);
        if checksum.is_some_and(|sum| *sum != crc32c(&values)) {
            let folder = path.parent().unwrap_or(&path).display();
            let reason = format!(
                "the features of clip {clip} of {source} have changed since they were written: \
                 remove {folder} to measure everything again"
            );
            return Err(damaged(&path, reason));
        }
        let (values, _) = values.as_chunks();
        Ok(values.iter().map(|&v| f32::from_le_bytes(v)).collect())
    }
}

/// The file of a part of the work, to which records are added.
pub(crate) struct Recorder {
    path: PathBuf,
    file: File,
    /// The files of its features.
    features: Vec<(Features, File)>,
}

impl Recorder {
    /// Starts an evaluation in `folder`, or continues it after this part's records in `records`.
    /// Incomplete leftovers of a run that was stopped are removed.
    ///
    /// # Errors
    /// If the folder cannot be written, or contains another evaluation by now.
    pub(crate) fn new(
        folder: &Path,
        protocol: &Protocol,
        features: &[Features],
        part: Part,
        records: &Records,
    ) -> Result<Self, EvaluationError> {
        fs::create_dir_all(folder).map_err(EvaluationError::write(folder))?;
        begin(folder, protocol)?;
        let path = folder.join(format!("clips{}.jsonl", part.suffix()));
        let complete = records.files.get(&path).copied().unwrap_or_default();
        let file = open_to_append(&path, complete.bytes)?;
        let features = features.iter().map(|&features| {
            let bytes = (complete.lines * features.bytes()) as u64;
            let file = open_to_append(&features_path(&path, features), bytes)?;
            Ok((features, file))
        });
        Ok(Self {
            features: features.collect::<Result<_, EvaluationError>>()?,
            file,
            path,
        })
    }

    /// Stores the measures of a clip, and its features, in the order that [`Self::new`] got.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) fn add(
        &mut self,
        source: &str,
        clip: usize,
        measures: Measures,
        features: &[Vec<f32>],
    ) -> Result<(), EvaluationError> {
        let mut checksums = BTreeMap::new();
        // Before the line, which says that everything is complete.
        for ((of, file), values) in self.features.iter_mut().zip(features) {
            let values: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            checksums.insert(of.metric.to_owned(), crc32c(&values));
            let path = features_path(&self.path, *of);
            file.write_all(&values)
                .map_err(EvaluationError::write(&path))?;
        }
        let record = Record {
            source: source.into(),
            clip,
            features: checksums,
            measures,
        };
        self.file
            .write_all(record.to_line().as_bytes())
            .map_err(EvaluationError::write(&self.path))
    }
}

fn damaged(path: &Path, reason: String) -> EvaluationError {
    EvaluationError::Damaged {
        path: path.to_owned(),
        reason,
    }
}

/// Opens a file for writing after its first `length` bytes.
fn open_to_append(path: &Path, length: u64) -> Result<File, EvaluationError> {
    let open = || {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        file.set_len(length)?;
        Ok::<_, io::Error>(file)
    };
    open().map_err(EvaluationError::write(path))
}

/// Fails if features are missing for some lines of a file of measures.
fn check_features(
    measures: &Path,
    lines: usize,
    features: Features,
) -> Result<(), EvaluationError> {
    let path = features_path(measures, features);
    let expected = (lines * features.bytes()) as u64;
    let found = fs::metadata(&path).map_or(0, |file| file.len());
    if found >= expected {
        return Ok(());
    }
    let folder = measures.parent().unwrap_or(measures).display();
    let reason = format!(
        "has {found} bytes and should have {expected}: remove {folder} to measure everything again"
    );
    Err(damaged(&path, reason))
}

/// The file of features that belongs to a file of measures.
fn features_path(measures: &Path, features: Features) -> PathBuf {
    measures.with_extension(format!("{}.f32", features.metric))
}

/// The path of a folder's protocol.
fn protocol_path(folder: &Path) -> PathBuf {
    folder.join(PROTOCOL)
}

/// Writes the protocol if there is none, and otherwise compares it with the existing one.
fn begin(folder: &Path, protocol: &Protocol) -> Result<(), EvaluationError> {
    let path = protocol_path(folder);
    if !path.is_file() {
        write_atomically(&path, text(protocol).as_bytes())
            .map_err(EvaluationError::write(&path))?;
    }
    agree(folder, protocol)
}

fn text(protocol: &Protocol) -> String {
    serde_json::to_string_pretty(protocol).expect("a protocol is plain values") + "\n"
}

/// Fails if a folder has another protocol.
fn agree(folder: &Path, protocol: &Protocol) -> Result<(), EvaluationError> {
    let path = protocol_path(folder);
    if !path.is_file() {
        return Ok(());
    }
    let theirs = fs::read_to_string(&path).map_err(EvaluationError::read(&path))?;
    let theirs = serde_json::from_str(&theirs)
        .map_err(|error| damaged(&path, format!("is damaged: {error}")))?;
    let theirs = comparable(theirs);
    // Parsed like theirs, so that numbers compare.
    let ours = comparable(serde_json::from_str(&text(protocol)).expect("JSON"));
    let Some((field, theirs, ours)) = difference("", &theirs, &ours) else {
        return Ok(());
    };
    let difference = match field.strip_suffix("_fingerprint") {
        Some(files) => format!("its {files} were different, or have changed since"),
        None => format!("{field} is {theirs} there and {ours} now"),
    };
    Err(EvaluationError::OtherEvaluation {
        folder: folder.to_owned(),
        difference,
    })
}

/// A protocol in a form that is comparable with older versions: the number of validation clips had
/// another name, and metrics another order; newer settings get the values from before there was a
/// choice.
fn comparable(mut protocol: Value) -> Value {
    let later = [
        ("split", "validation".into()),
        ("through_mp4", false.into()),
        ("fid_frames", "all".into()),
    ];
    if let Some(protocol) = protocol.as_object_mut() {
        for (field, before) in later {
            protocol.entry(field).or_insert(before);
        }
    }
    if let Some(data) = protocol["data_config"].as_object_mut()
        && let Some(count) = data.remove("held_out")
    {
        data.insert("validation".into(), count);
    }
    if let Some(metrics) = protocol["metrics"].as_array_mut() {
        metrics.sort_by_key(ToString::to_string);
    }
    protocol
}

/// The first value that differs: its name and both values.
fn difference(name: &str, theirs: &Value, ours: &Value) -> Option<(String, Value, Value)> {
    if let (Value::Object(theirs), Value::Object(ours)) = (theirs, ours) {
        return ours.iter().find_map(|(field, ours)| {
            let name = match name {
                "" => field.clone(),
                name => format!("{name}.{field}"),
            };
            difference(&name, theirs.get(field).unwrap_or(&Value::Null), ours)
        });
    }
    (theirs != ours).then(|| (name.to_owned(), theirs.clone(), ours.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FidFrames, ReferenceSplit, SampledClasses};

    fn protocol(seed: u64) -> Protocol {
        Protocol {
            model: "m".into(),
            model_fingerprint: "0".into(),
            data: "d".into(),
            data_config: serde_json::json!({ "shapes": { "size": 32 } }),
            data_fingerprint: None,
            videos: None,
            videos_fingerprint: None,
            split: ReferenceSplit::Validation,
            through_mp4: false,
            fid_frames: FidFrames::All,
            frames: 16,
            prefix_frames: 0,
            metrics: vec!["psnr"],
            weights: BTreeMap::new(),
            classes: SampledClasses::None,
            steps: 50,
            eta: 0.0,
            guidance: 1.0,
            seed,
        }
    }

    fn psnr(psnr: f64) -> Measures {
        Measures::from([("psnr".into(), psnr.into())])
    }

    /// The records of a folder, and the file of a part of it.
    fn open(
        folder: &Path,
        seed: u64,
        features: &[Features],
        part: Part,
    ) -> Result<(Records, Recorder), EvaluationError> {
        let protocol = protocol(seed);
        let records = Records::read(folder, &protocol, features)?;
        let recorder = Recorder::new(folder, &protocol, features, part, &records)?;
        Ok((records, recorder))
    }

    #[test]
    fn a_run_that_was_killed_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let open = || open(folder.path(), 1, &[], Part::ALL).unwrap();
        let (_, mut recorder) = open();
        recorder.add("a", 0, psnr(30.0), &[]).unwrap();
        recorder.add("b", 0, psnr(31.0), &[]).unwrap();
        drop(recorder);
        let file = folder.path().join("clips.jsonl");
        let mut text = fs::read_to_string(&file).unwrap();
        text.truncate(text.len() - 5); // In the middle of a line.
        fs::write(&file, text).unwrap();

        let (records, mut recorder) = open();
        assert!(records.has("a", 0) && !records.has("b", 0));
        recorder.add("b", 0, psnr(32.0), &[]).unwrap();
        drop(recorder);
        assert_eq!(open().0.get("b", 0), Some(&psnr(32.0)));
    }

    #[test]
    fn features_stay_with_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let features = Features {
            metric: "latents",
            samples: 2,
            width: 1,
        };
        let part = |index, count| open(folder.path(), 1, &[features], Part { index, count });
        let (_, mut first) = part(0, 2).unwrap();
        first.add("a", 0, psnr(1.0), &[vec![1.0, 2.0]]).unwrap();
        // Killed between the features and the line.
        first.features[0].1.write_all(&[7; 8]).unwrap();
        let (_, mut second) = part(1, 2).unwrap();
        second.add("a", 1, psnr(1.0), &[vec![3.0, 4.0]]).unwrap();
        drop((first, second));

        let (_, mut first) = part(0, 2).unwrap();
        first.add("b", 0, psnr(1.0), &[vec![5.0, 6.0]]).unwrap();
        let (whole, _) = part(0, 1).unwrap();
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
        // Both start before either has measured anything.
        let parts = [0, 1].map(|index| {
            let (_, recorder) = open(folder.path(), 1, &[], Part { index, count: 2 }).unwrap();
            (index, recorder)
        });
        for (index, mut recorder) in parts {
            recorder.add("a", index, psnr(30.0), &[]).unwrap();
            let records = Records::read(folder.path(), &protocol(1), &[]).unwrap();
            assert_eq!(
                (records.has("a", 0), records.has("a", 1)),
                (true, index == 1)
            );
        }
    }

    #[test]
    fn other_evaluations_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 1, &[], Part::ALL).unwrap();
        let refused = |protocol: Protocol| {
            let records = Records::read(folder.path(), &protocol, &[]);
            records.err().expect("another evaluation").to_string()
        };
        let error = refused(protocol(2));
        assert!(error.contains("seed is 1 there and 2 now"), "{error}");
        let error = refused(Protocol {
            data_config: serde_json::json!({ "shapes": { "size": 64 } }),
            ..protocol(1)
        });
        let expected = "data_config.shapes.size is 32 there and 64 now";
        assert!(error.contains(expected), "{error}");
        let error = refused(Protocol {
            videos_fingerprint: Some("1".into()),
            ..protocol(1)
        });
        assert!(error.contains("its videos"), "{error}");
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let features = [Features {
            metric: "latents",
            samples: 1,
            width: 2,
        }];
        let open = || open(folder.path(), 1, &features, Part::ALL);
        let (_, mut recorder) = open().unwrap();
        recorder.add("a", 0, psnr(30.5), &[vec![1.0, 2.0]]).unwrap();
        drop(recorder);
        let flip = |name: &str, at: usize| {
            let path = folder.path().join(name);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        };
        let line = fs::read_to_string(folder.path().join("clips.jsonl")).unwrap();
        for at in 0..line.trim_end().len() {
            flip("clips.jsonl", at);
            assert!(open().is_err(), "{}", &line[at..]);
            flip("clips.jsonl", at);
        }
        let read = || open().unwrap().0.features("a", 0, features[0]);
        assert_eq!(read().unwrap(), [1.0, 2.0]);
        for at in 0..8 {
            flip("clips.latents.f32", at);
            let error = read().unwrap_err().to_string();
            assert!(error.contains("clip 0 of a"), "{error}");
            flip("clips.latents.f32", at);
        }
    }

    #[test]
    fn folders_of_older_versions_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut older = serde_json::to_value(Protocol {
            metrics: vec!["psnr", "world"],
            ..protocol(1)
        })
        .unwrap();
        older["metrics"] = serde_json::json!(["world", "psnr"]);
        for field in ["split", "through_mp4", "fid_frames"] {
            older.as_object_mut().unwrap().remove(field);
        }
        fs::write(protocol_path(folder.path()), older.to_string()).unwrap();
        let read = |split| {
            let protocol = Protocol {
                metrics: vec!["psnr", "world"],
                split,
                ..protocol(1)
            };
            Records::read(folder.path(), &protocol, &[])
        };
        assert!(read(ReferenceSplit::Validation).is_ok());
        let error = read(ReferenceSplit::Training).err().unwrap().to_string();
        let expected = "split is \"validation\" there and \"training\" now";
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_folder_of_something_else_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("loss.jsonl"), "nonsense\n").unwrap();
        let error = open(folder.path(), 1, &[], Part::ALL).err().unwrap();
        assert!(error.to_string().contains("line 1"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
