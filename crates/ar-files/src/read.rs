use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The largest configuration, or other text written by people, that is read, in bytes.
pub const MOST_TEXT: u64 = 16 << 20;

/// How long a pipe may have no writer: a shell starts both ends at once.
const WAIT_FOR_WRITER: Duration = Duration::from_secs(2);

/// Reads a file of at most `most` bytes. A pipe is read to its end; a device is refused, since it
/// may have no end.
///
/// # Errors
/// If the file is longer, a folder or a device, a pipe without data, or cannot be read.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    if metadata.len() <= most {
        if !metadata.is_file() {
            bytes.extend(first_of_pipe(&mut file)?);
        }
        let rest = most.saturating_add(1).saturating_sub(bytes.len() as u64);
        file.take(rest).read_to_end(&mut bytes)?;
        if bytes.len() as u64 <= most {
            return Ok(bytes);
        }
    }
    let message = format!("it has more than {}, the limit", size(most));
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

/// Fails unless `path` is a regular file with a known size: not a folder, pipe or device.
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
    if metadata.is_file() {
        return File::open(path);
    }
    open_pipe(path)
}

/// Opens a pipe without waiting for its writer.
#[cfg(unix)]
fn open_pipe(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
}

#[cfg(not(unix))]
fn open_pipe(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The first byte of a pipe, which then waits for more as files do.
#[cfg(unix)]
fn first_of_pipe(pipe: &mut File) -> io::Result<Option<u8>> {
    let start = Instant::now();
    let mut byte = [0];
    loop {
        match pipe.read(&mut byte) {
            Ok(0) if start.elapsed() > WAIT_FOR_WRITER => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "this is a pipe, but nothing is written to it",
                ));
            }
            Ok(0) => {}
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        thread::sleep(Duration::from_millis(5));
    }
    let flags = rustix::fs::fcntl_getfl(&*pipe)?;
    rustix::fs::fcntl_setfl(&*pipe, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(Some(byte[0]))
}

#[cfg(not(unix))]
fn first_of_pipe(_: &mut File) -> io::Result<Option<u8>> {
    Ok(None)
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
    fn a_pipe_is_read_to_its_end_and_one_without_a_writer_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        let error = read(&path, 10).expect_err("nobody writes").to_string();
        assert!(error.contains("nothing is written to it"), "{error}");
        let writer = {
            let path = path.clone();
            thread::spawn(move || {
                let mut pipe = File::create(path).expect("the pipe");
                for part in ["a", "bc"] {
                    thread::sleep(Duration::from_millis(50));
                    std::io::Write::write_all(&mut pipe, part.as_bytes()).expect("written");
                }
            })
        };
        assert_eq!(read(&path, 3).expect("read"), b"abc");
        writer.join().expect("written");
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_refused() {
        assert!(read("/dev/zero", u64::MAX).is_err());
        assert!(check_regular("/dev/zero").is_err());
    }
}
