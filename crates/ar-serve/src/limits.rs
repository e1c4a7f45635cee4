//! How much one client can take from the others. The page `docs/serve.md` repeats them.

use std::time::Duration;

/// Connections at a time; more are answered with status 503.
pub const CONNECTIONS: usize = 128;
/// Bytes that the system and the HTTP library may hold for a reader that is behind, each.
pub const BUFFER_BYTES: usize = 64 << 10;
/// Header fields of a request.
pub const HEADERS: usize = 64;
/// Time for the head of a request, and for which a connection may be idle.
pub const HEADER_TIME: Duration = Duration::from_secs(10);
/// Time between two pieces of a request's body, and for the whole of one that is JSON.
pub const BODY_TIME: Duration = Duration::from_secs(10);
/// Time for a whole upload.
pub const UPLOAD_TIME: Duration = Duration::from_secs(120);
/// Time for which what is left of a refused upload is read and dropped, so that the client reads
/// why it was refused.
pub const LINGER: Duration = Duration::from_secs(2);
/// Time for which a reader may read nothing, before its connection is closed.
pub const STALLED_TIME: Duration = Duration::from_secs(600);
/// Bytes of a body of JSON.
pub const JSON_BYTES: usize = 64 << 10;
/// Bytes of an upload.
pub const UPLOAD_BYTES: usize = 64 << 20;
/// Uploads at a time.
pub const UPLOADS: usize = 4;
/// Time in which a prefix has to be decoded.
pub const PREFIX_TIME: Duration = Duration::from_secs(60);
/// Videos that wait for their turn.
pub const QUEUE: usize = 16;
/// Live videos, endless or paced, at a time.
pub const LIVE: usize = 3;
/// Frames that a live video is ahead of the watcher who has seen most of it.
pub const AHEAD: usize = 8;
/// Time after which a live video that nobody is connected to ends.
pub const UNWATCHED_TIME: Duration = Duration::from_secs(15);
/// Frames of a video that are denoised at the same time, if the model sees fewer.
pub const AT_WORK: usize = 64;
/// Frames of a video.
pub const FRAMES: usize = 100_000;
/// Bytes of a video's frames, as RGB.
pub const VIDEO_BYTES: usize = 256 << 20;
/// Frames of an endless video: 8 years at 8 frames a second.
pub const ENDLESS_FRAMES: usize = 1 << 31;
/// Last frames of an endless video that are kept,
pub const ENDLESS_KEPT: usize = 256;
/// and their bytes; it always keeps those that its watchers wait for.
pub const ENDLESS_BYTES: usize = 64 << 20;
/// Ended videos that are kept; the oldest are dropped.
pub const KEPT_VIDEOS: usize = 64;
/// Bytes of the frames of ended videos that are kept.
pub const KEPT_BYTES: usize = 512 << 20;
/// Time between two previews of a video.
pub const PREVIEW_INTERVAL: Duration = Duration::from_millis(40);
/// Time between two reports of progress.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Time between two signs of life on a stream of events on which nothing happens.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// MP4 files that are made at a time.
pub const DOWNLOADS: usize = 2;
/// Time for open connections to end after the server is asked to stop.
pub const STOP_TIME: Duration = Duration::from_secs(3);
/// Range of `pace` and `fps`, in frames a second.
pub const FPS: std::ops::RangeInclusive<f64> = 0.1..=240.0;
/// The largest square frame of an MP4 file.
pub const MP4_SIDE: usize = 2160;
