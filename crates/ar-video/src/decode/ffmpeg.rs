//! The system's ffmpeg as a child process, so that untrusted files are decoded outside this process.

mod command;
mod messages;

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::frames::Frames;
use super::pam;
use crate::{Frame, VideoError};
use command::{HEAD, Input, command};
use messages::{Messages, NOT_LISTED};

/// Frames decoded ahead of the consumer.
const AHEAD: usize = 2;
/// How often a wait checks for an interrupt.
const LOOK: Duration = Duration::from_millis(50);

/// The ffmpeg program that decodes what this crate cannot decode; version 5.1 or newer.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    program: OsString,
    timeout: Duration,
    interrupt: Arc<AtomicBool>,
    /// Why the program is not a working ffmpeg, once this has been checked.
    fault: Arc<OnceLock<Option<String>>>,
}

impl Ffmpeg {
    /// The program in the environment variable `AR_FFMPEG`, otherwise `ffmpeg` from the `PATH`.
    pub fn from_env() -> Self {
        let program = env::var_os("AR_FFMPEG").filter(|program| !program.is_empty());
        Self::new(program.unwrap_or_else(|| "ffmpeg".into()))
    }

    /// This program, found on the `PATH` if it is a bare name.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            timeout: Duration::from_secs(60),
            interrupt: Arc::default(),
            fault: Arc::default(),
        }
    }

    /// How long to wait for a frame: 60 s if not set.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// When `interrupt` is set, a wait for a frame ends at once, with [`VideoError::Interrupted`].
    pub fn with_interrupt(self, interrupt: Arc<AtomicBool>) -> Self {
        Self { interrupt, ..self }
    }

    /// Starts decoding the first video stream of a file.
    pub(super) fn open(&self, path: &Path) -> Result<Frames, VideoError> {
        let mut head = Vec::new();
        File::open(path)
            .and_then(|file| file.take(HEAD).read_to_end(&mut head))
            .map_err(|e| VideoError::io(path, e))?;
        let input = Input::new(path, &head);
        let mut child = command(&self.program, path, input)
            .spawn()
            .map_err(|source| self.not_started(path, source))?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");

        let (sender, frames) = mpsc::sync_channel(AHEAD);
        let (to_end, messages) = mpsc::channel();
        let reader = FfmpegFrames {
            path: path.to_owned(),
            child,
            frames,
            messages,
            ffmpeg: self.clone(),
            has_sent: false,
        };
        let file = path.to_owned();
        let read_frames = move || {
            let mut stream = BufReader::with_capacity(1 << 16, stdout);
            while let Some(item) = pam::read(&mut stream, &file).transpose() {
                let last = item.is_err();
                if sender.send(item).is_err() || last {
                    break;
                }
            }
        };
        let read_messages = move || {
            // Nobody waits for them if the reader is dropped.
            let _ = to_end.send(Messages::read(stderr, input.is_transport_stream));
        };
        // If a thread cannot be started, `reader` kills ffmpeg.
        let spawn = |work: Box<dyn FnOnce() + Send>| thread::Builder::new().spawn(work);
        spawn(Box::new(read_frames))
            .and_then(|_| spawn(Box::new(read_messages)))
            .map_err(|source| self.not_started(path, source))?;
        Ok(Box::new(reader))
    }

    /// Why the program is not a working ffmpeg: its output when asked for its version. A program that lacks a library,
    /// or is something else, must not count against the files.
    fn fault(&self) -> Option<&str> {
        let ask = || {
            let mut child = Command::new(&self.program)
                .arg("-version")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| error.to_string())?;
            let start = Instant::now();
            let goes_on = || start.elapsed() < self.timeout && !self.is_interrupted();
            while matches!(child.try_wait(), Ok(None)) && goes_on() {
                thread::sleep(Duration::from_millis(2));
            }
            // It is killed if it does not end by itself; its version information fits into a pipe.
            let _ = child.kill();
            let output = child
                .wait_with_output()
                .map_err(|error| error.to_string())?;
            if output.stdout.starts_with(b"ffmpeg version") {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            let line = said.lines().next().unwrap_or_default();
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            Err(if line.is_empty() {
                format!("asked for its version, it ended with {}", output.status)
            } else {
                line
            })
        };
        self.fault.get_or_init(|| ask().err()).as_deref()
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    fn not_started(&self, path: &Path, source: io::Error) -> VideoError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                VideoError::FfmpegMissing {
                    path,
                    program: self.program.clone(),
                    source,
                }
            }
            _ => VideoError::FfmpegRefused {
                path,
                message: source.to_string(),
            },
        }
    }
}

struct FfmpegFrames {
    path: PathBuf,
    child: Child,
    frames: Receiver<Result<Frame, VideoError>>,
    messages: Receiver<Messages>,
    ffmpeg: Ffmpeg,
    /// Whether a frame has arrived.
    has_sent: bool,
}

impl Iterator for FfmpegFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let item = loop {
            match self.frames.recv_timeout(LOOK.min(self.ffmpeg.timeout)) {
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.check_wait(start) {
                        return Some(Err(error));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.end().err().map(Err),
                Ok(item) => break item,
            }
        };
        self.has_sent |= item.is_ok();
        Some(match item {
            // ffmpeg's own message is better than one about its truncated output.
            Err(VideoError::Io { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                let end = self.end().err();
                Err(end.unwrap_or_else(|| VideoError::decode(&self.path, source)))
            }
            item => item,
        })
    }
}

impl FfmpegFrames {
    /// What ffmpeg says about the stream that just ended. If it has not sent a frame, it is first checked whether it is
    /// an ffmpeg at all.
    fn end(&mut self) -> Result<(), VideoError> {
        let verdict = self.verdict();
        if self.has_sent || !matches!(verdict, Ok(()) | Err(VideoError::Ffmpeg { .. })) {
            return verdict;
        }
        match self.ffmpeg.fault() {
            // Perhaps killed before it could answer.
            Some(_) if self.ffmpeg.is_interrupted() => Err(self.interrupted()),
            Some(fault) if is_refusal(fault) => Err(VideoError::FfmpegRefused {
                path: self.path.clone(),
                message: fault.to_owned(),
            }),
            Some(fault) => Err(VideoError::FfmpegMissing {
                path: self.path.clone(),
                program: self.ffmpeg.program.clone(),
                source: io::Error::other(fault),
            }),
            None => verdict,
        }
    }

    fn verdict(&mut self) -> Result<(), VideoError> {
        let status = self.wait()?;
        // A process that ffmpeg left behind may keep stderr open; its output is not waited for.
        let Messages { first, damage } = self
            .messages
            .recv_timeout(Duration::from_secs(2))
            .unwrap_or_default();
        let path = self.path.clone();
        if is_ended_from_outside(status) {
            return Err(VideoError::FfmpegEnded { path, status });
        }
        if status.success() {
            return match damage {
                Some(message) => Err(VideoError::Ffmpeg { path, message }),
                None => Ok(()),
            };
        }
        let message = first;
        Err(if message.contains("matches no streams") {
            VideoError::NoVideo { path }
        } else if let Some(format) = message.strip_prefix(NOT_LISTED) {
            let format = format.to_owned();
            VideoError::UnreadFormat { path, format }
        } else if message.contains("fps_mode") {
            VideoError::FfmpegTooOld { path, message }
        } else if is_refusal(&message) {
            VideoError::FfmpegRefused { path, message }
        } else if message.is_empty() {
            let message = format!("it ended with {status}");
            VideoError::Ffmpeg { path, message }
        } else {
            VideoError::Ffmpeg { path, message }
        })
    }

    fn wait(&mut self) -> Result<ExitStatus, VideoError> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => self.check_wait(start)?,
                Err(e) => return Err(VideoError::io(&self.path, e)),
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a wait that began at `start` goes on.
    fn check_wait(&self, start: Instant) -> Result<(), VideoError> {
        if self.ffmpeg.is_interrupted() {
            return Err(self.interrupted());
        }
        if start.elapsed() > self.ffmpeg.timeout {
            Err(self.timed_out())
        } else {
            Ok(())
        }
    }

    fn interrupted(&self) -> VideoError {
        VideoError::Interrupted {
            path: self.path.clone(),
        }
    }

    fn timed_out(&self) -> VideoError {
        VideoError::TimedOut {
            path: self.path.clone(),
            seconds: self.ffmpeg.timeout.as_secs(),
        }
    }
}

impl Drop for FfmpegFrames {
    fn drop(&mut self) {
        // Both fail only if ffmpeg has ended already. The threads end with its pipes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Errors from a system that is out of something that ffmpeg needs.
const REFUSALS: [&str; 4] = [
    "Too many open files",
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    // From the loader of libraries, without a reason if it is memory.
    "failed to map segment from shared object",
];

fn is_refusal(message: &str) -> bool {
    REFUSALS.iter().any(|refusal| message.contains(refusal))
}

/// Whether somebody ended ffmpeg: by a signal that is not a crash, or by one that ffmpeg handles as a request and
/// answers with this status.
fn is_ended_from_outside(status: ExitStatus) -> bool {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        // Illegal instruction, trap, abort, bus error, floating point, segmentation fault.
        return ![4, 5, 6, 7, 8, 10, 11].contains(&signal);
    }
    status.code() == Some(255)
}
