use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes of a configuration, or of other text that people write, that are read.
pub const MOST_TEXT: u64 = 16 << 20;

/// Reads a file of at most `most` bytes. A pipe is read to its end; a device is refused, since it
/// may have no end.
///
/// # Errors
/// If the file is longer, a folder or a device, or cannot be read.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length <= most {
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= most {
            return Ok(bytes);
        }
    }
    let message = format!("it has more than {}, the most that is read", size(most));
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

/// [`read`] as text.
///
/// # Errors
/// As [`read`], or if it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    let bytes = read(path, most)?;
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Fails unless `path` is a file with an end, whose size is known: no folder, pipe or device.
///
/// # Errors
/// In those cases, or if the system does not say.
pub fn check_regular(path: impl AsRef<Path>) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_file() {
        return Ok(());
    }
    Err(if metadata.is_dir() {
        a_folder()
    } else {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is a pipe or a device, not a file",
        )
    })
}

fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(a_folder());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;

        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this is a device, not a file",
            ));
        }
    }
    File::open(path)
}

fn a_folder() -> io::Error {
    io::Error::new(io::ErrorKind::IsADirectory, "this is a folder, not a file")
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, [b'x'; 2048]).expect("written");
        assert_eq!(read(&path, 2048).expect("read").len(), 2048);
        let error = read(&path, 2047).expect_err("too long").to_string();
        assert!(error.contains("1 KiB"), "{error}");
        assert!(read(folder.path(), 1).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_refused() {
        assert!(read("/dev/zero", u64::MAX).is_err());
        assert!(check_regular("/dev/zero").is_err());
    }
}
