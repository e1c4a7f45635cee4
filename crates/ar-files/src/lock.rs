use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a holder shows processes on other machines that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A holder on another machine that has not shown a sign of life for this long is gone.
const GONE: Duration = Duration::from_secs(120);

/// The lock of a folder in which only one process may work; another process that wants it gets an error that names the
/// first. The lock ends with the process, however the process ends.
///
/// It is the system's lock on the file `.lock`, which names the process and its machine. Not all file systems that
/// machines share pass such locks on, so the holder also keeps writing to the file, and a file from another machine
/// that has not been written for two minutes is stale.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
    /// Ends the thread when it is dropped.
    alive: Option<Sender<()>>,
    heartbeat: Option<JoinHandle<()>>,
}

impl FolderLock {
    /// Takes the lock `name` of a folder, which has to exist.
    ///
    /// # Errors
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) if another process has it, which the message names; otherwise
    /// errors of the system.
    pub fn take(folder: impl AsRef<Path>, name: &str) -> io::Result<Self> {
        let path = folder.as_ref().join(name);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let is_locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(busy(&mut file)),
            // The file system does not support locks.
            Err(TryLockError::Error(_)) => false,
        };
        let (us, found) = (holder(), read(&mut file)?);
        let machine = |holder: &str| holder.split_once(" on ").map(|(_, on)| on.to_owned());
        let is_ours = machine(&found) == machine(&us);
        let may_be_alive = match (is_ours, is_locked) {
            _ if found.is_empty() => false,
            (true, true) => false,
            (true, false) => is_running(&found),
            (false, _) => !is_gone(&file, folder.as_ref())?,
        };
        if may_be_alive {
            return Err(busy(&mut file));
        }
        write(&mut file, &us)?;
        let (alive, ended) = channel();
        let mut of_thread = file.try_clone()?;
        let heartbeat = thread::Builder::new().spawn(move || {
            while ended.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // A full disk is not a reason to stop.
                let _ = write(&mut of_thread, &us);
            }
        })?;
        Ok(Self {
            file,
            alive: Some(alive),
            heartbeat: Some(heartbeat),
        })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(heartbeat) = self.heartbeat.take() {
            let _ = heartbeat.join();
        }
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

fn busy(file: &mut File) -> io::Error {
    let holder = match read(file) {
        Ok(holder) if !holder.is_empty() => holder,
        _ => "another process".into(),
    };
    let message = format!("{holder} is working in it: wait for it to end, or stop it");
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

/// The name of this process in the file.
fn holder() -> String {
    format!("process {} on {}", std::process::id(), machine())
}

/// The name of this machine, as far as it has one.
fn machine() -> String {
    let of_linux = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = of_linux.map(|name| name.trim().to_owned()).ok();
    name.or_else(|| env::var("HOSTNAME").ok())
        .or_else(|| env::var("COMPUTERNAME").ok())
        .unwrap_or_else(|| "this machine".into())
}

/// Whether the process that a file names is running on this machine; assumed if the system does not say.
fn is_running(holder: &str) -> bool {
    let number = holder.split(' ').nth(1);
    let procs = Path::new("/proc");
    number.is_none_or(|number| !procs.join("self").exists() || procs.join(number).exists())
}

/// Whether the file has not been written for a long time, by the clock of its file system.
fn is_gone(file: &File, folder: &Path) -> io::Result<bool> {
    let now = crate::temporary::file_in(folder, true)?;
    let now = now.as_file().metadata()?.modified()?;
    let written = file.metadata()?.modified()?;
    Ok(now.duration_since(written).is_ok_and(|age| age > GONE))
}

fn read(file: &mut File) -> io::Result<String> {
    const MOST: u64 = 1024;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn write(file: &mut File, holder: &str) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let text = format!("{holder}\n");
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_folder_has_one_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = || FolderLock::take(folder.path(), ".lock");
        let lock = take().expect("a free folder");
        let error = take().expect_err("a folder in use");
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let process = format!("process {} on ", std::process::id());
        assert!(error.to_string().contains(&process), "{error}");
        drop(lock);
        take().expect("a free folder again");
    }

    #[test]
    fn locks_of_processes_that_are_gone_are_stale() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".lock");
        let take = || FolderLock::take(folder.path(), ".lock");
        // Killed on this machine: the system's lock has ended with it.
        fs::write(&path, format!("process 1 on {}\n", machine())).expect("written");
        take().expect("a stale lock");
        // On another machine, which shares the folder but not the system's lock.
        fs::write(&path, "process 1 on elsewhere\n").expect("written");
        let error = take().expect_err("one that may be alive").to_string();
        assert!(error.contains("process 1 on elsewhere"), "{error}");
        let file = File::options().write(true).open(&path).expect("the file");
        file.set_modified(SystemTime::now() - 2 * GONE)
            .expect("an age");
        take().expect("a stale lock");
    }
}
