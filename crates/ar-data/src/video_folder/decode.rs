//! From videos to the frames of clips.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ar_video::{Clip, Ffmpeg, Frame, VideoError, VideoReader, square_crop};

use super::config::VideoFolderConfig;
use crate::progress::Progress;

const MIB: usize = 1 << 20;

/// The result of reading a video.
pub(super) struct Scan {
    pub clips: usize,
    /// The frames that belong to a clip, `[kept frames, size, size, 3]`, unless there was no room.
    pub pixels: Option<Vec<u8>>,
}

/// Why a scan ended before all videos were read.
#[derive(Debug)]
pub(super) enum ScanEnd {
    /// It was interrupted.
    Interrupted,
    /// A video cannot be read because of the environment.
    Environment(VideoError),
    /// The system has no threads left.
    NoThread(io::Error),
}

/// How often a scan checks whether it should stop.
const LOOK: Duration = Duration::from_millis(100);

/// Decodes videos on `workers` threads. The results are in the order of `paths`: a scan, or why the
/// video has no usable clip.
///
/// # Errors
/// If `progress` stops the scan, or the environment keeps videos from being read. It is then
/// unknown which of them are broken.
pub(super) fn scan_all(
    paths: &[PathBuf],
    config: &VideoFolderConfig,
    workers: usize,
    mut progress: impl Progress,
) -> Result<Vec<Result<Scan, String>>, ScanEnd> {
    let room = Room(AtomicUsize::new(config.max_memory_mib.saturating_mul(MIB)));
    let next = AtomicUsize::new(0);
    let stop = Arc::new(AtomicBool::new(false));
    let mut scans: Vec<_> = paths.iter().map(|_| None).collect();
    let mut end = None;
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for worker in 0..workers.clamp(1, paths.len().max(1)) {
            let (sender, room, next, stop) = (sender.clone(), &room, &next, stop.clone());
            let scan_next = move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(index) else { break };
                    let scan = scan(path, config, room, &stop);
                    // Nobody waits for more when the scan has ended.
                    let _ = sender.send((index, scan));
                }
            };
            match thread::Builder::new().spawn_scoped(scope, scan_next) {
                Ok(_) => {}
                Err(error) if worker == 0 => end = Some(ScanEnd::NoThread(error)),
                // Fewer workers give the same result.
                Err(_) => break,
            }
        }
        drop(sender);
        let mut done = 0;
        while end.is_none() {
            match results.recv_timeout(LOOK) {
                Ok((index, Err(NoScan::Unusable(reason)))) => scans[index] = Some(Err(reason)),
                Ok((_, Err(NoScan::Environment(error)))) => {
                    end = Some(ScanEnd::Environment(error));
                    break;
                }
                Ok((index, Ok(scan))) => scans[index] = Some(Ok(scan)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    if progress.should_stop() {
                        end = Some(ScanEnd::Interrupted);
                    }
                    continue;
                }
            }
            done += 1;
            progress.scanned(done, paths.len());
            if progress.should_stop() {
                end = Some(ScanEnd::Interrupted);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    match end {
        Some(end) => Err(end),
        None => Ok(scans
            .into_iter()
            .map(|scan| scan.expect("every video is scanned"))
            .collect()),
    }
}

/// Remaining bytes for frames.
struct Room(AtomicUsize);

impl Room {
    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, fetch, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The frames of a video that are kept, as long as there is room.
struct Kept<'a> {
    room: &'a Room,
    pixels: Option<Vec<u8>>,
}

impl Kept<'_> {
    fn push(&mut self, frame: &Frame, size: usize) {
        let Some(pixels) = &mut self.pixels else {
            return;
        };
        if self.room.take(size * size * 3) {
            pixels.extend_from_slice(square_crop(frame, size).rgb());
        } else {
            self.truncate(0);
            self.pixels = None;
        }
    }

    fn truncate(&mut self, bytes: usize) {
        if let Some(pixels) = &mut self.pixels {
            self.room.give_back(pixels.len().saturating_sub(bytes));
            pixels.truncate(bytes);
            pixels.shrink_to_fit();
        }
    }
}

/// Why a video has no scan.
enum NoScan {
    Unusable(String),
    Environment(VideoError),
}

/// Decodes a whole video and keeps the frames that belong to a clip while there is room.
fn scan(
    path: &Path,
    config: &VideoFolderConfig,
    room: &Room,
    stop: &Arc<AtomicBool>,
) -> Result<Scan, NoScan> {
    let mut kept = Kept {
        room,
        pixels: Some(Vec::new()),
    };
    let frames = decode_into(&mut kept, path, config, stop).map_err(|error| {
        kept.truncate(0);
        if error.is_environment() {
            NoScan::Environment(error)
        } else {
            NoScan::Unusable(reason(&error, path))
        }
    })?;
    let Some(rest) = frames.checked_sub(config.frames) else {
        kept.truncate(0);
        return Err(NoScan::Unusable(format!(
            "it has {frames} frames, but a clip has {}",
            config.frames
        )));
    };
    let clips = rest / config.skip() + 1;
    // An incomplete last clip is cut off.
    let frames = (clips - 1) * stride(config) + config.frames;
    kept.truncate(frames * config.size * config.size * 3);
    Ok(Scan {
        clips,
        pixels: kept.pixels,
    })
}

/// Returns the number of frames.
fn decode_into(
    kept: &mut Kept<'_>,
    path: &Path,
    config: &VideoFolderConfig,
    stop: &Arc<AtomicBool>,
) -> Result<usize, VideoError> {
    let mut frames = 0;
    let ffmpeg = Ffmpeg::from_env().with_interrupt(stop.clone());
    for frame in VideoReader::open_with(path, &ffmpeg)? {
        let frame = frame?;
        if stop.load(Ordering::Relaxed) {
            let path = path.to_path_buf();
            return Err(VideoError::Interrupted { path });
        }
        if frames % config.skip() < config.frames {
            kept.push(&frame, config.size);
        }
        frames += 1;
    }
    Ok(frames)
}

/// The message of an error without the path before it.
fn reason(error: &VideoError, path: &Path) -> String {
    let message = error.to_string();
    match message.strip_prefix(&format!("{}: ", path.display())) {
        Some(reason) => reason.to_string(),
        None => message,
    }
}

/// Kept frames from the start of a clip to the start of the next one.
fn stride(config: &VideoFolderConfig) -> usize {
    config.skip().min(config.frames)
}

/// A clip from the kept frames of its video.
pub(super) fn kept_clip(pixels: &[u8], clip: usize, config: &VideoFolderConfig) -> Clip {
    let bytes = config.size * config.size * 3;
    let first = clip * stride(config);
    let frames = pixels[first * bytes..(first + config.frames) * bytes].chunks(bytes);
    let frame = |rgb: &[u8]| Frame::new(config.size, config.size, rgb.to_vec());
    Clip::new(frames.map(frame).collect())
}

/// A clip that cannot be read although it could be read before.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClipError {
    #[error(transparent)]
    Video(#[from] VideoError),
    #[error("{}: the video has become shorter: it ends within its clip {clip}", path.display())]
    Shorter { path: PathBuf, clip: usize },
}

/// Whether an item of a dataset cannot be read because of the environment: see
/// [`VideoError::is_environment`].
pub fn is_environment(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        let video = error.downcast_ref::<VideoError>();
        let clip = error.downcast_ref::<ClipError>();
        match (video, clip) {
            (Some(error), _) | (_, Some(ClipError::Video(error))) => error.is_environment(),
            _ => false,
        }
    })
}

/// Reads a clip from its video.
pub(super) fn read_clip(
    path: &Path,
    clip: usize,
    config: &VideoFolderConfig,
) -> Result<Clip, ClipError> {
    let reader = VideoReader::open_at(path, clip * config.skip())?;
    let cropped = |frame: Result<Frame, _>| frame.map(|frame| square_crop(&frame, config.size));
    let frames: Vec<Frame> = reader
        .take(config.frames)
        .map(cropped)
        .collect::<Result<_, _>>()?;
    if frames.len() < config.frames {
        return Err(ClipError::Shorter {
            path: path.to_path_buf(),
            clip,
        });
    }
    Ok(Clip::new(frames))
}
