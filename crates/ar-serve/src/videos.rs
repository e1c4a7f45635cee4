//! All videos of a server: waiting, running and ended ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ar_pipeline::ResolvedOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::ApiError;
use crate::limits;
use crate::options::Request;
use crate::video::{Phase, Status, Video};

/// A video to make.
pub(crate) struct Job {
    pub video: Arc<Video>,
    pub options: ResolvedOptions,
    /// The permit for a live video, if it is one.
    pub live: Option<OwnedSemaphorePermit>,
}

/// The other ends of the queues.
pub(crate) struct Jobs {
    /// One after another.
    pub queued: mpsc::Receiver<Job>,
    /// At the same time, each at its pace.
    pub live: mpsc::Receiver<Job>,
}

pub(crate) struct Videos {
    all: Mutex<All>,
    queue: mpsc::Sender<Job>,
    live: mpsc::Sender<Job>,
    live_places: Arc<Semaphore>,
    is_stopping: AtomicBool,
}

#[derive(Default)]
struct All {
    videos: BTreeMap<u64, Arc<Video>>,
    last: u64,
}

impl Videos {
    pub(crate) fn new() -> (Self, Jobs) {
        let (queue, queued) = mpsc::channel(limits::QUEUE);
        let (live, live_jobs) = mpsc::channel(limits::LIVE);
        let videos = Self {
            all: Mutex::default(),
            queue,
            live,
            live_places: Arc::new(Semaphore::new(limits::LIVE)),
            is_stopping: AtomicBool::new(false),
        };
        let jobs = Jobs {
            queued,
            live: live_jobs,
        };
        (videos, jobs)
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a video with frames of `size` x `size` pixels into its queue.
    ///
    /// # Errors
    /// 429 if there is no room, 503 if the server is stopping.
    pub(crate) fn add(&self, request: Request, size: usize) -> Result<Arc<Video>, ApiError> {
        let is_live = request.chosen.is_live();
        let live = if is_live {
            let place = self.live_places.clone().try_acquire_owned();
            Some(place.map_err(|_| ApiError::Busy("all places for live videos are taken"))?)
        } else {
            None
        };
        let queue = if is_live { &self.live } else { &self.queue };
        let place = queue.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => ApiError::Busy("the queue is full"),
            mpsc::error::TrySendError::Closed(()) => ApiError::Stopping,
        })?;
        let mut all = self.all();
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(ApiError::Stopping);
        }
        all.last += 1;
        let iterations = request.options.iterations();
        let video = Arc::new(Video::new(all.last, request.chosen, size, iterations));
        all.videos.insert(video.id, video.clone());
        place.send(Job {
            video: video.clone(),
            options: request.options,
            live,
        });
        Ok(video)
    }

    /// # Errors
    /// 404 if there is none.
    pub(crate) fn get(&self, id: u64) -> Result<Arc<Video>, ApiError> {
        let video = self.all().videos.get(&id).cloned();
        video.ok_or(ApiError::NoVideo { id })
    }

    /// All videos, the newest first.
    pub(crate) fn list(&self) -> Vec<Status> {
        let videos: Vec<_> = self.all().videos.values().rev().cloned().collect();
        videos.iter().map(|video| video.status()).collect()
    }

    /// Drops ended videos, the oldest first, while there are too many.
    pub(crate) fn prune(&self) {
        let mut all = self.all();
        let ended = all.videos.values().rev();
        let ended = ended.filter(|video| video.phase().is_ended());
        let mut bytes = 0;
        let dropped: Vec<u64> = ended
            .enumerate()
            .filter_map(|(newer, video)| {
                bytes += video.bytes();
                let is_kept =
                    newer == 0 || newer < limits::KEPT_VIDEOS && bytes <= limits::KEPT_BYTES;
                (!is_kept).then_some(video.id)
            })
            .collect();
        for id in dropped {
            all.videos.remove(&id);
        }
    }

    /// Cancels all videos, and accepts no more.
    pub(crate) fn stop(&self) {
        let all = self.all();
        self.is_stopping.store(true, Ordering::Relaxed);
        for video in all.videos.values() {
            video.cancel();
        }
    }

    /// The number of videos in each state, and the bytes of their frames.
    pub(crate) fn count(&self) -> ([(Phase, usize); 5], usize) {
        let all = self.all();
        let mut counts = [
            Phase::Queued,
            Phase::Running,
            Phase::Done,
            Phase::Cancelled,
            Phase::Failed,
        ]
        .map(|phase| (phase, 0));
        let mut bytes = 0;
        for video in all.videos.values() {
            bytes += video.bytes();
            let phase = video.phase();
            for (counted, count) in &mut counts {
                *count += usize::from(*counted == phase);
            }
        }
        (counts, bytes)
    }
}
