use std::fmt;
use std::io;
use std::path::Path;

use crate::checksum;
use crate::read::check_regular;

/// A content hash of files: 64-bit FNV-1a over all bytes that are added, in order. It is displayed
/// as 16 hexadecimal digits.
///
/// ```
/// use ar_files::ContentHash;
///
/// assert_ne!(ContentHash::EMPTY.and(b"ab"), ContentHash::EMPTY.and(b"ba"));
/// assert_eq!(ContentHash::EMPTY.and(b"a").and(b"b"), ContentHash::EMPTY.and(b"ab"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHash(u64);

impl ContentHash {
    /// The hash of nothing.
    pub const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// The hash with more bytes added.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// The hash with the contents of a file added.
    ///
    /// # Errors
    /// If it cannot be read, or is a pipe or a device.
    pub fn and_file(self, path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        check_regular(path)?;
        Ok(self.and(&std::fs::read(path)?))
    }

    /// The hash with the checksum and the size of a file added, or of each file in a folder, in the order of their names.
    /// It reads large files much faster than [`and_file`](Self::and_file).
    ///
    /// # Errors
    /// If one cannot be read, or is a pipe or a device.
    pub fn and_checksum(self, path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path)?;
            files = entries
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<_>>()?;
            files.retain(|file| file.is_file());
            files.sort();
        }
        files.iter().try_fold(self, |hash, file| {
            let (sum, size) = checksum(file)?;
            Ok(hash.and(&sum.to_le_bytes()).and(&size.to_le_bytes()))
        })
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_has_no_hash() {
        assert!(ContentHash::EMPTY.and_file("/dev/zero").is_err());
    }

    #[test]
    fn checksums_of_all_files_of_a_folder_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let hash = || {
            ContentHash::EMPTY
                .and_checksum(folder.path())
                .expect("files")
        };
        let mut hashes = vec![hash()];
        for (name, text) in [("a", ""), ("b", "x"), ("b", "y"), ("a", "y")] {
            std::fs::write(folder.path().join(name), text).expect("written");
            assert!(!hashes.contains(&hash()), "{name} {text}");
            hashes.push(hash());
        }
        let file = ContentHash::EMPTY.and_checksum(folder.path().join("a"));
        assert!(!hashes.contains(&file.expect("a file")));
        assert!(ContentHash::EMPTY.and_checksum("/dev/zero").is_err());
    }

    /// The published test vectors of FNV-1a.
    #[test]
    fn hashes_as_published() {
        assert_eq!(ContentHash::EMPTY.to_string(), "cbf29ce484222325");
        assert_eq!(ContentHash::EMPTY.and(b"a").to_string(), "af63dc4c8601ec8c");
        assert_eq!(
            ContentHash::EMPTY.and(b"foobar").to_string(),
            "85944171f73967e8"
        );
    }
}
