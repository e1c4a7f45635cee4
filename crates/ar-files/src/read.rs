use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The largest configuration, or other text written by people, that is read, in bytes.
pub const MOST_TEXT: u64 = 16 << 20;

/// How long a pipe may have no writer: a shell starts both ends at once.
const WAIT_FOR_WRITER: Duration = Duration::from_secs(2);

/// How long a pipe may be silent before somebody is [told](on_wait).
const WAIT_UNTOLD: Duration = Duration::from_secs(5);

/// Reads a file of at most `most` bytes. A pipe is read to its end; a device is refused, since it
/// may have no end.
///
/// # Errors
/// If the file is longer, a folder or a device, a pipe without data, or cannot be read.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let file = open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    if metadata.len() <= most {
        let limit = most.saturating_add(1);
        if metadata.is_file() {
            file.take(limit).read_to_end(&mut bytes)?;
        } else {
            let pipe = Pipe {
                pipe: file,
                path,
                last: Instant::now(),
                has_begun: false,
                is_told: false,
            };
            pipe.take(limit).read_to_end(&mut bytes)?;
        }
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

fn open(path: &Path) -> io::Result<File> {
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

/// What is told the path of a pipe that is waited for.
static TOLD: OnceLock<fn(&Path)> = OnceLock::new();

/// Has `tell` called with the path of any pipe that is open but to which nothing is written for seconds, once for each.
/// Reading goes on. Only the first call has an effect.
pub fn on_wait(tell: fn(&Path)) {
    let _ = TOLD.set(tell);
}

/// A pipe that is read without blocking, so that a long wait can be told.
struct Pipe<'a> {
    pipe: File,
    path: &'a Path,
    /// When it was opened, or last gave something.
    last: Instant,
    has_begun: bool,
    is_told: bool,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pause = Duration::from_micros(50);
        loop {
            let waited = self.last.elapsed();
            match self.pipe.read(buffer) {
                Ok(0) if !self.has_begun && waited > WAIT_FOR_WRITER => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "this is a pipe, but nothing is written to it",
                    ));
                }
                Ok(0) if !self.has_begun => {}
                Ok(read) => {
                    self.has_begun = true;
                    self.last = Instant::now();
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if waited > WAIT_UNTOLD && !self.is_told {
                        self.is_told = true;
                        TOLD.get().into_iter().for_each(|tell| tell(self.path));
                    }
                }
                Err(error) => return Err(error),
            }
            thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(5));
        }
    }
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
    fn a_silent_pipe_is_told_once_and_read_on() {
        use std::sync::Mutex;

        static WAITS: Mutex<Vec<std::path::PathBuf>> = Mutex::new(Vec::new());
        on_wait(|path| WAITS.lock().expect("a list").push(path.to_owned()));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("mkfifo").success());
        let writer = {
            let path = path.clone();
            thread::spawn(move || {
                let mut pipe = File::create(path).expect("the pipe");
                let long = vec![7; 1 << 20];
                for part in [&b"a"[..], &long] {
                    thread::sleep(WAIT_UNTOLD + Duration::from_millis(300));
                    std::io::Write::write_all(&mut pipe, part).expect("written");
                }
            })
        };
        assert_eq!(read(&path, 1 << 21).expect("read").len(), (1 << 20) + 1);
        writer.join().expect("written");
        assert_eq!(*WAITS.lock().expect("a list"), [path]);
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_is_refused() {
        assert!(read("/dev/zero", u64::MAX).is_err());
        assert!(check_regular("/dev/zero").is_err());
    }
}
