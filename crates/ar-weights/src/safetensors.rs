//! Reading and writing safetensors, a tensor at a time.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ar_files::OutputFile;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::WeightsError;
use crate::floats::Floats;
use crate::stored::Stored;

/// Bytes of the header's length, which precedes the header.
const LENGTH: usize = 8;

/// What to do about a file that is cut short.
const AGAIN: &str = "download or copy it again";

/// The longest header, as in the format's own library.
const LONGEST_HEADER: u64 = 100_000_000;

/// A file, or what was in one.
enum Content {
    File(Mutex<File>),
    Memory(Vec<u8>),
}

impl Content {
    /// Replaces the contents of `bytes`.
    fn read(&self, start: u64, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        match self {
            Self::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(start))?;
                bytes.reserve_exact(length);
                (&mut *file).take(length as u64).read_to_end(bytes)?;
                if bytes.len() < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Self::Memory(content) => {
                let start = start as usize;
                let end = start.checked_add(length);
                let content = end.and_then(|end| content.get(start..end));
                bytes.extend_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        Ok(())
    }
}

pub(crate) fn in_file(path: &Path) -> Result<BTreeMap<String, Stored>, WeightsError> {
    let file = File::open(path).map_err(WeightsError::io(path))?;
    let length = file.metadata().map_err(WeightsError::io(path))?.len();
    open(Content::File(Mutex::new(file)), length).map_err(unreadable(&path.display().to_string()))
}

pub(crate) fn in_memory(
    name: &str,
    bytes: Vec<u8>,
) -> Result<BTreeMap<String, Stored>, WeightsError> {
    let length = bytes.len() as u64;
    open(Content::Memory(bytes), length).map_err(unreadable(name))
}

fn unreadable(name: &str) -> impl FnOnce(String) -> WeightsError + use<'_> {
    move |reason| WeightsError::Unreadable {
        file: name.to_owned(),
        format: "safetensors",
        reason,
    }
}

/// Reads the header of content of `length` bytes.
fn open(content: Content, length: u64) -> Result<BTreeMap<String, Stored>, String> {
    if length <= LENGTH as u64 {
        return Err(format!("it is cut short: it has {length} bytes; {AGAIN}"));
    }
    let mut bytes = Vec::new();
    let mut read = |start, length| {
        let read = content.read(start, length, &mut bytes);
        read.map(|()| mem::take(&mut bytes))
            .map_err(|error| error.to_string())
    };
    let header = read(0, LENGTH)?.try_into().expect("eight bytes");
    let header = u64::from_le_bytes(header);
    if header > LONGEST_HEADER || read(LENGTH as u64, 1)? != b"{" {
        return Err("it does not begin with a header".into());
    }
    if header > length - LENGTH as u64 {
        return Err(format!(
            "it is cut short in its header: it has {length} bytes and should have {} and more; {AGAIN}",
            LENGTH as u64 + header
        ));
    }
    let bytes = read(LENGTH as u64, header as usize)?;
    let metadata: Metadata = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let data = LENGTH as u64 + header;
    let whole = data + metadata.data_len() as u64;
    if whole != length {
        return Err(if length < whole {
            format!("it is cut short: it has {length} bytes and should have {whole}; {AGAIN}")
        } else {
            format!("it has {length} bytes and its tensors end at {whole}")
        });
    }
    let content = Arc::new(content);
    let stored = |(key, info): (String, &TensorInfo)| {
        let (start, end) = info.data_offsets;
        let content = content.clone();
        let tensor = Stored {
            shape: info.shape.clone(),
            floats: match info.dtype {
                Dtype::F16 => Some(Floats::F16),
                Dtype::BF16 => Some(Floats::Bf16),
                Dtype::F32 => Some(Floats::F32),
                Dtype::F64 => Some(Floats::F64),
                _ => None,
            },
            read: Arc::new(move |bytes| content.read(data + start as u64, end - start, bytes)),
        };
        (key, tensor)
    };
    Ok(metadata.tensors().into_iter().map(stored).collect())
}

/// Writes tensors, `(name, shape, bytes)`, in the order of their names, atomically. The bytes of a tensor are made
/// after the previous ones are written.
pub(crate) fn write<B>(
    path: &Path,
    mut tensors: Vec<(String, Vec<usize>, B)>,
    floats: Floats,
) -> Result<(), WeightsError>
where
    B: FnOnce() -> Result<Vec<u8>, WeightsError>,
{
    tensors.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let mut end = 0;
    let infos = tensors.iter().map(|(key, shape, _)| {
        let start = end;
        end += shape.iter().product::<usize>() * floats.size();
        let info = TensorInfo {
            dtype: match floats {
                Floats::F16 => Dtype::F16,
                Floats::Bf16 => Dtype::BF16,
                Floats::F32 => Dtype::F32,
                Floats::F64 => Dtype::F64,
            },
            shape: shape.clone(),
            data_offsets: (start, end),
        };
        (key.clone(), info)
    });
    // One entry, which PyTorch's readers look for.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), infos.collect()).expect("tensors in order");
    let mut header = serde_json::to_vec(&metadata).expect("a header is plain JSON");
    header.resize(header.len().next_multiple_of(LENGTH), b' ');

    let io = |error| WeightsError::io(path)(error);
    let mut file = OutputFile::create(path).map_err(io)?;
    let length = (header.len() as u64).to_le_bytes();
    file.write_all(&length).map_err(io)?;
    file.write_all(&header).map_err(io)?;
    for (_, _, bytes) in tensors {
        file.write_all(&bytes()?).map_err(io)?;
    }
    file.persist().map_err(io)
}
