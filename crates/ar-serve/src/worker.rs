//! The thread that computes. All videos share it, and one copy of the model. Videos that are made
//! at the same time take turns of one sampler iteration each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ar_pipeline::{Generation, Pipeline, PipelineError, ResolvedOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{sleep, sleep_until, timeout};

use crate::limits;
use crate::metrics::Metrics;
use crate::video::{Phase, Video};
use crate::videos::{Job, Jobs, Videos};

/// How often a video that is waiting for its watchers checks whether there are any left.
const LOOK: Duration = Duration::from_secs(1);

/// The worker.
#[derive(Clone)]
pub(crate) struct Worker {
    pub pipeline: Pipeline,
    pub videos: Arc<Videos>,
    pub metrics: Arc<Metrics>,
}

impl Worker {
    /// Makes videos until `stop` is set; videos in progress then end as if they were cancelled.
    pub(crate) async fn run(self, jobs: Jobs, stop: watch::Receiver<bool>) {
        let Jobs { queued, live } = jobs;
        let set = LocalSet::new();
        set.spawn_local(self.clone().one_by_one(queued, stop.clone()));
        set.spawn_local(self.clone().side_by_side(live, stop.clone()));
        set.run_until(stopped(stop)).await;
        self.videos.stop();
        // A single iteration of a large model may take longer.
        let _ = timeout(limits::STOP_TIME, set).await;
    }

    async fn one_by_one(self, mut jobs: mpsc::Receiver<Job>, stop: watch::Receiver<bool>) {
        while let Some(job) = next(&mut jobs, &stop).await {
            self.make(job).await;
        }
    }

    async fn side_by_side(self, mut jobs: mpsc::Receiver<Job>, stop: watch::Receiver<bool>) {
        while let Some(job) = next(&mut jobs, &stop).await {
            let worker = self.clone();
            spawn_local(async move { worker.make(job).await });
        }
    }

    /// Makes one video. An error affects only that video.
    async fn make(&self, job: Job) {
        let Job {
            video,
            options,
            live,
        } = job;
        if video.begin() {
            let worker = self.clone();
            let at_work = video.clone();
            let ended = spawn_local(async move { worker.sample(&at_work, options).await }).await;
            let (phase, error) = match ended {
                Ok(Ok(phase)) => (phase, None),
                Ok(Err(error)) => (Phase::Failed, Some(error.to_string())),
                // The panic was printed where it happened.
                Err(_) => (Phase::Failed, Some("the sampler has a bug".into())),
            };
            // A client that reads that it has ended may want its place.
            drop(live);
            video.end(phase, error);
        }
        self.metrics.end(video.phase());
        self.videos.prune();
    }

    async fn sample(
        &self,
        video: &Video,
        options: ResolvedOptions,
    ) -> Result<Phase, PipelineError> {
        let interval = video.options.seconds_an_iteration(options.sampler.plan());
        let mut clock = interval.map(Clock::new);
        let generation = Generation::new(&self.pipeline, options)?;
        let mut steps = generation.steps();
        let mut previewed: Option<Instant> = None;
        loop {
            if !wait_for_room(video).await {
                return Ok(Phase::Cancelled);
            }
            if let Some(clock) = &mut clock {
                clock.tick().await;
            }
            let Some(step) = steps.next() else {
                return Ok(Phase::Done);
            };
            let step = step?;
            self.metrics.iterate(step.finished.len());
            video.add(step);
            let is_due = previewed.is_none_or(|last| last.elapsed() >= limits::PREVIEW_INTERVAL);
            if is_due && video.is_previewed() {
                previewed = Some(Instant::now());
                video.show(steps.previews()?);
            }
            yield_now().await;
        }
    }
}

/// Waits until the server is asked to stop.
pub(crate) async fn stopped(mut stop: watch::Receiver<bool>) {
    // If the sender has been dropped, that means the same.
    let _ = stop.wait_for(|&stop| stop).await;
}

async fn next(jobs: &mut mpsc::Receiver<Job>, stop: &watch::Receiver<bool>) -> Option<Job> {
    tokio::select! {
        job = jobs.recv() => job,
        () = stopped(stop.clone()) => None,
    }
}

/// Waits until the video may continue; false if it has been ended.
async fn wait_for_room(video: &Video) -> bool {
    let mut changes = video.subscribe();
    loop {
        changes.borrow_and_update();
        if video.is_cancelled() || video.is_abandoned() {
            return false;
        }
        if video.has_room() {
            return true;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}

/// Iterations at even intervals.
struct Clock {
    interval: Duration,
    next: Instant,
}

impl Clock {
    /// The most delay that is made up for; after a longer wait, the clock starts again.
    const SLACK: Duration = Duration::from_millis(250);

    fn new(seconds: f64) -> Self {
        Self {
            interval: Duration::from_secs_f64(seconds),
            next: Instant::now(),
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.next + Self::SLACK < now {
            self.next = now;
        }
        // Timers are no finer than a millisecond.
        if self.next > now + Duration::from_millis(1) {
            sleep_until(self.next.into()).await;
        }
        self.next += self.interval;
    }
}
