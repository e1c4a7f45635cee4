//! Event files that TensorBoard reads: records in TensorFlow's framing, each an `Event` message of
//! protocol buffers. The few fields that scalars need are encoded here.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::scalars::Scalars;
use crate::error::{Error, Result};

/// The prefix of the names of event files.
const FILE_PREFIX: &str = "events.out.tfevents.";
/// The version that the first record of a file has to name.
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`
const SESSION_START: u64 = 1;

/// An event file.
pub(super) struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// A new event file in `folder`, for a run that is at `step`. If there are earlier files, TensorBoard is told to
    /// forget later steps in them.
    pub(super) fn create(folder: &Path, step: usize) -> Result<Self> {
        let now = since_epoch();
        let has_earlier = has_event_file(folder).map_err(Error::io(folder))?;
        let name = format!(
            "{FILE_PREFIX}{}.{:09}.{}",
            now.as_secs(),
            now.subsec_nanos(),
            std::process::id()
        );
        let path = folder.join(name);
        let file = File::create(&path).map_err(Error::io(&path))?;
        let mut writer = Self { path, file };
        let time = now.as_secs_f64();
        writer.append(&event(time, 0, Content::FileVersion(FILE_VERSION)))?;
        if has_earlier {
            // Events of this step remain, because it is not done again.
            writer.append(&event(time, step + 1, Content::SessionStart))?;
        }
        Ok(writer)
    }

    pub(super) fn write(&mut self, scalars: &Scalars) -> Result<()> {
        let time = since_epoch().as_secs_f64();
        self.append(&event(
            time,
            scalars.step,
            Content::Scalars(&scalars.values),
        ))
    }

    fn append(&mut self, event: &[u8]) -> Result<()> {
        // One call per record, so that a killed process leaves only complete records.
        self.file
            .write_all(&record(event))
            .map_err(Error::io(&self.path))
    }
}

/// The current time; a clock that is set before 1970 counts as 1970.
fn since_epoch() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

fn has_event_file(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with(FILE_PREFIX) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A record: length, its checksum, the bytes, their checksum.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(bytes);
    record.extend(masked_crc(bytes).to_le_bytes());
    record
}

/// A CRC-32C, rotated and offset so that checksums of data that contains checksums stay meaningful.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

enum Content<'a> {
    FileVersion(&'a str),
    SessionStart,
    Scalars(&'a [(String, f64)]),
}

/// `Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
/// SessionLog session_log = 7; }`
fn event(wall_time: f64, step: usize, content: Content<'_>) -> Vec<u8> {
    let mut message = Message::default();
    message.fixed64(1, wall_time);
    message.varint(2, step as u64);
    match content {
        Content::FileVersion(version) => message.bytes(3, version.as_bytes()),
        Content::SessionStart => {
            // SessionLog { SessionStatus status = 1; }
            let mut session = Message::default();
            session.varint(1, SESSION_START);
            message.bytes(7, &session.0);
        }
        Content::Scalars(scalars) => {
            // Summary { repeated Value value = 1; }, Value { string tag = 1; float simple_value = 2; }
            let mut summary = Message::default();
            for (tag, value) in scalars {
                let mut scalar = Message::default();
                scalar.bytes(1, tag.as_bytes());
                scalar.fixed32(2, *value as f32);
                summary.bytes(1, &scalar.0);
            }
            message.bytes(5, &summary.0);
        }
    }
    message.0
}

/// A protocol buffers message that is being built.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, wire_type: u64) {
        self.raw_varint(field << 3 | wire_type);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// An integer; 0 is left out, because it is the default.
    fn varint(&mut self, field: u64, value: u64) {
        if value > 0 {
            self.key(field, 0);
            self.raw_varint(value);
        }
    }

    fn fixed64(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn fixed32(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Compares with records that TensorBoard's own `RecordWriter` and `Event` wrote: version; `loss` 0.25 and
    /// `learning_rate` 0.001 at step 300 and time 1234.5; a session start at step 301.
    #[test]
    fn records_are_those_of_tensorboard() {
        let scalars = [
            ("loss".to_owned(), 0.25),
            ("learning_rate".to_owned(), 1e-3),
        ];
        for (event, expected) in [
            (
                event(1234.5, 0, Content::FileVersion(FILE_VERSION)),
                "1800000000000000a37f4b220900000000004a93401a0d627261696e2e4576656e743a3265b8\
                 d3fb",
            ),
            (
                event(1234.5, 300, Content::Scalars(&scalars)),
                "31000000000000009d8383e90900000000004a934010ac022a230a0b0a046c6f737315000080\
                 3e0a140a0d6c6561726e696e675f72617465156f12833ade525140",
            ),
            (
                event(1234.5, 301, Content::SessionStart),
                "100000000000000095fbfe180900000000004a934010ad023a020801c02893a5",
            ),
        ] {
            assert_eq!(hex(&record(&event)), expected);
        }
    }

    #[test]
    fn later_files_start_a_session_even_at_the_start() {
        let folder = tempfile::tempdir().expect("a folder");
        // Step 1 and `SessionLog { status: START }`, as in the record above.
        let session = "10013a020801";
        for (run, starts) in [false, true].into_iter().enumerate() {
            let writer = EventWriter::create(folder.path(), 0).expect("a file");
            let text = hex(&fs::read(&writer.path).expect("the file"));
            assert_eq!(text.contains(session), starts, "file {run}: {text}");
        }
    }
}
