//! The system's ffmpeg as a child process: untrusted files are decoded outside of this one.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::frames::Frames;
use super::ppm;
use crate::{Frame, VideoError};

/// Frames decoded ahead of the consumer.
const AHEAD: usize = 2;
/// What is kept of ffmpeg's messages, in bytes.
const KEPT_MESSAGES: u64 = 16 * 1024;

/// The ffmpeg program that decodes what this crate cannot. Version 5.1 or newer.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    program: OsString,
    timeout: Duration,
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
        }
    }

    /// How long to wait for a frame: 60 s if not set.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Starts decoding the first video stream of a file.
    pub(super) fn open(&self, path: &Path) -> Result<Frames, VideoError> {
        let mut child = self
            .command(path)
            .spawn()
            .map_err(|source| VideoError::FfmpegMissing {
                path: path.to_owned(),
                program: self.program.clone(),
                source,
            })?;
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");

        let (sender, frames) = mpsc::sync_channel(AHEAD);
        let file = path.to_owned();
        thread::spawn(move || {
            let mut stream = BufReader::with_capacity(1 << 16, stdout);
            while let Some(item) = ppm::read(&mut stream, &file).transpose() {
                let last = item.is_err();
                if sender.send(item).is_err() || last {
                    break;
                }
            }
        });
        Ok(Box::new(FfmpegFrames {
            path: path.to_owned(),
            child,
            frames,
            messages: collect_messages(stderr),
            timeout: self.timeout,
        }))
    }

    fn command(&self, path: &Path) -> Command {
        // With the protocol in front, a name may start with a dash or contain a colon.
        let mut input = OsString::from("file:");
        input.push(path);
        let mut command = Command::new(&self.program);
        command
            // Without -xerror a damaged file decodes to damaged frames, with status 0.
            .args([
                "-nostdin",
                "-v",
                "error",
                "-xerror",
                "-protocol_whitelist",
                "file,pipe",
                "-i",
            ])
            .arg(input)
            .args([
                "-map",
                "0:v:0",
                "-an",
                "-sn",
                "-dn",
                "-fps_mode",
                "passthrough",
            ])
            .args([
                "-pix_fmt",
                "rgb24",
                "-c:v",
                "ppm",
                "-f",
                "image2pipe",
                "pipe:1",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// The start of what ffmpeg prints, sent when it closes stderr. All of it is read, so that ffmpeg
/// never waits.
fn collect_messages(stderr: ChildStderr) -> Receiver<String> {
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut kept = Vec::new();
        // A failure to read only loses the messages.
        let _ = stderr.by_ref().take(KEPT_MESSAGES).read_to_end(&mut kept);
        let _ = io::copy(&mut stderr, &mut io::sink());
        let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
    });
    messages
}

struct FfmpegFrames {
    path: PathBuf,
    child: Child,
    frames: Receiver<Result<Frame, VideoError>>,
    messages: Receiver<String>,
    timeout: Duration,
}

impl Iterator for FfmpegFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.frames.recv_timeout(self.timeout) {
            Ok(Ok(frame)) => Some(Ok(frame)),
            // ffmpeg's own words are better than those about its cut-off output.
            Ok(Err(VideoError::Io { source, .. }))
                if source.kind() == io::ErrorKind::UnexpectedEof =>
            {
                let end = self.end().err();
                Some(Err(
                    end.unwrap_or_else(|| VideoError::decode(&self.path, source))
                ))
            }
            Ok(Err(error)) => Some(Err(error)),
            Err(RecvTimeoutError::Timeout) => Some(Err(self.timed_out())),
            Err(RecvTimeoutError::Disconnected) => self.end().err().map(Err),
        }
    }
}

impl FfmpegFrames {
    /// What ffmpeg says about the stream that just ended.
    fn end(&mut self) -> Result<(), VideoError> {
        let status = self.wait()?;
        // A process that ffmpeg left behind may hold stderr open; its words are not waited for.
        let messages = self
            .messages
            .recv_timeout(Duration::from_secs(2))
            .unwrap_or_default();
        let mut lines = messages.lines();
        // Some containers end early with status 0 and only this message.
        let complaint = if status.success() {
            lines.find(|line| line.contains("partial file"))
        } else {
            Some(
                lines
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or_default(),
            )
        };
        let Some(line) = complaint else { return Ok(()) };
        let message = match without_address(line) {
            "" => format!("it ended with {status}"),
            line => line.to_owned(),
        };
        let path = self.path.clone();
        Err(if message.contains("fps_mode") {
            VideoError::FfmpegTooOld { path, message }
        } else {
            VideoError::Ffmpeg { path, message }
        })
    }

    fn wait(&mut self) -> Result<ExitStatus, VideoError> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if start.elapsed() > self.timeout => return Err(self.timed_out()),
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Err(e) => return Err(VideoError::io(&self.path, e)),
            }
        }
    }

    fn timed_out(&self) -> VideoError {
        VideoError::TimedOut {
            path: self.path.clone(),
            seconds: self.timeout.as_secs(),
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

/// The line without the `[demuxer @ 0x55ecd785a40] ` that ffmpeg puts before some.
fn without_address(line: &str) -> &str {
    let line = line.trim();
    match line.split_once("] ") {
        Some((start, rest)) if start.starts_with('[') && start.contains(" @ 0x") => rest.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_dropped() {
        let line = "[mov,mp4 @ 0x5a] moov atom not found\r";
        assert_eq!(without_address(line), "moov atom not found");
        assert_eq!(
            without_address("file:[a] b: Invalid data"),
            "file:[a] b: Invalid data"
        );
    }
}
