//! Pictures in the IDX format of the MNIST files.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// Unsigned bytes with three axes.
const MAGIC: [u8; 4] = [0, 0, 8, 3];
const GZIP: [u8; 2] = [0x1f, 0x8b];
const HEADER: usize = 16;
/// The most bytes that are read; MNIST has 47 million.
const LIMIT: u64 = 1 << 30;

/// An invalid file of pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxError {
    /// It cannot be read or decompressed.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not start like a file of pictures.
    #[error("{0}: not an IDX file of pictures, such as MNIST's train-images-idx3-ubyte")]
    Format(PathBuf),
    /// The length does not match the header.
    #[error(
        "{path}: {count} pictures of {height}x{width} are not {actual} bytes; the file is damaged \
         or too large"
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Number of pictures in the header.
        count: u32,
        /// Height in the header.
        height: u32,
        /// Width in the header.
        width: u32,
        /// Bytes after the header.
        actual: usize,
    },
}

/// Grey pictures of the same size.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pictures {
    pub height: usize,
    pub width: usize,
    /// `[count, height, width]`
    values: Vec<u8>,
}

impl Pictures {
    /// Reads a file, with or without gzip compression.
    pub(crate) fn read(path: &Path) -> Result<Self, IdxError> {
        let bytes = read_bytes(path)
            .map_err(|source| IdxError::Read {
                path: path.to_path_buf(),
                source,
            })?
            .ok_or_else(|| IdxError::Format(path.to_path_buf()))?;
        let (header, values) = bytes
            .split_at_checked(HEADER)
            .filter(|(header, _)| header.starts_with(&MAGIC))
            .ok_or_else(|| IdxError::Format(path.to_path_buf()))?;
        let axes = header[4..].as_chunks::<4>().0;
        let [count, height, width] = [axes[0], axes[1], axes[2]].map(u32::from_be_bytes);
        let expected = [height, width]
            .iter()
            .try_fold(u64::from(count), |n, &axis| n.checked_mul(axis.into()));
        if expected != Some(values.len() as u64) || values.is_empty() {
            return Err(IdxError::Length {
                path: path.to_path_buf(),
                count,
                height,
                width,
                actual: values.len(),
            });
        }
        Ok(Self {
            height: height as usize,
            width: width as usize,
            values: values.to_vec(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / (self.height * self.width)
    }

    /// `[height, width]`
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        let size = self.height * self.width;
        &self.values[index * size..][..size]
    }
}

/// The contents, decompressed; None if the start shows that it is something else, which may have no
/// end.
fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    ar_files::check_regular(path)?;
    let mut reader = BufReader::new(File::open(path)?).take(LIMIT);
    let mut bytes = Vec::new();
    reader
        .by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut bytes)?;
    if bytes.starts_with(&GZIP) {
        let decoder = MultiGzDecoder::new(bytes.as_slice().chain(reader));
        let mut unpacked = Vec::new();
        decoder.take(LIMIT).read_to_end(&mut unpacked)?;
        return Ok(Some(unpacked));
    }
    if bytes != MAGIC {
        return Ok(None);
    }
    reader.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    /// An IDX file of pictures of `[height, width]` with these `values`.
    pub(crate) fn idx(values: &[u8], [height, width]: [u32; 2]) -> Vec<u8> {
        let count = values.len() as u32 / (height * width);
        let axes = [count, height, width].map(u32::to_be_bytes).concat();
        [&MAGIC, axes.as_slice(), values].concat()
    }

    fn read(bytes: &[u8]) -> Result<Pictures, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        let message = |error: IdxError| error.to_string().replace(&path.display().to_string(), "x");
        Pictures::read(&path).map_err(message)
    }

    #[test]
    fn pictures_are_read_compressed_or_not() {
        let values: Vec<u8> = (0..30).collect();
        let plain = idx(&values, [2, 5]);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        for bytes in [plain, encoder.finish().unwrap()] {
            let pictures = read(&bytes).unwrap();
            assert_eq!((pictures.height, pictures.width, pictures.len()), (2, 5, 3));
            assert_eq!(pictures.get(2), &values[20..]);
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let plain = idx(&(0..30).collect::<Vec<u8>>(), [2, 5]);
        for end in 0..plain.len() {
            let error = read(&plain[..end]).err().unwrap();
            let expected = match end {
                0..HEADER => "x: not an IDX file".to_string(),
                _ => format!("x: 3 pictures of 2x5 are not {} bytes", end - HEADER),
            };
            assert!(error.starts_with(&expected), "{end}: {error}");
        }
        let mut huge = plain.clone();
        huge[4..16].fill(255);
        assert!(read(&huge).err().unwrap().contains("are not 30 bytes"));
        assert!(read(&[&GZIP[..], &plain].concat()).is_err());
        assert!(read(&idx(&[], [2, 5])).is_err());
        #[cfg(unix)]
        {
            let endless = Pictures::read(Path::new("/dev/zero"));
            assert!(endless.is_err());
        }
    }
}
