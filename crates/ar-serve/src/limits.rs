//! Limits that keep one client from taking too much from the others. `docs/serve.md` repeats them.

use std::time::Duration;

/// Simultaneous connections; more get status 503.
pub const CONNECTIONS: usize = 128;
/// Bytes that the system and the HTTP library may each buffer for a slow reader.
pub const BUFFER_BYTES: usize = 64 << 10;
/// Header fields of a request.
pub const HEADERS: usize = 64;
/// Time for the head of a request, and for which a connection may be idle.
pub const HEADER_TIME: Duration = Duration::from_secs(10);
/// Time between two pieces of a request's body, and for the whole of one that is JSON.
pub const BODY_TIME: Duration = Duration::from_secs(10);
/// Time for a whole upload.
pub const UPLOAD_TIME: Duration = Duration::from_secs(120);
/// Time for which the rest of a refused upload is read and discarded, so that the client can read
/// why it was refused.
pub const LINGER: Duration = Duration::from_secs(2);
/// Time for which a reader may read nothing before its connection is closed.
pub const STALLED_TIME: Duration = Duration::from_secs(600);
/// Bytes of a JSON body.
pub const JSON_BYTES: usize = 64 << 10;
/// Bytes of an upload.
pub const UPLOAD_BYTES: usize = 64 << 20;
/// Simultaneous uploads.
pub const UPLOADS: usize = 4;
/// Time in which a prefix has to be decoded.
pub const PREFIX_TIME: Duration = Duration::from_secs(60);
/// Videos in the queue.
pub const QUEUE: usize = 16;
/// Simultaneous live videos, endless or paced.
pub const LIVE: usize = 3;
/// Frames that a live video may be ahead of the watcher who has seen the most.
pub const AHEAD: usize = 8;
/// Time after which a live video without a connection ends.
pub const UNWATCHED_TIME: Duration = Duration::from_secs(15);
/// Frames of a video that may be denoised at the same time, if the model's window is not longer.
pub const AT_WORK: usize = 64;
/// Frames of a video.
pub const FRAMES: usize = 100_000;
/// Bytes of a video's frames, as RGB.
pub const VIDEO_BYTES: usize = 256 << 20;
/// Frames of an endless video: 8 years at 8 frames per second.
pub const ENDLESS_FRAMES: usize = 1 << 31;
/// Last frames of an endless video that are kept,
pub const ENDLESS_KEPT: usize = 256;
/// and their bytes; frames that watchers are waiting for are always kept.
pub const ENDLESS_BYTES: usize = 64 << 20;
/// Ended videos that are kept; the oldest are dropped.
pub const KEPT_VIDEOS: usize = 64;
/// Bytes of the frames of ended videos that are kept.
pub const KEPT_BYTES: usize = 512 << 20;
/// Time between two previews of a video.
pub const PREVIEW_INTERVAL: Duration = Duration::from_millis(40);
/// Time between two reports of progress.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Time between two signs of life on an idle event stream.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// MP4 files that are made at the same time.
pub const DOWNLOADS: usize = 2;
/// Time for open connections to end after the server is asked to stop.
pub const STOP_TIME: Duration = Duration::from_secs(3);
/// Range of `pace` and `fps`, in frames per second.
pub const FPS: std::ops::RangeInclusive<f64> = 0.1..=240.0;
/// The largest square frame of an MP4 file.
pub const MP4_SIDE: usize = 2160;
