//! Counts for Prometheus, in its text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use ar_cli::memory;

use crate::video::Phase;
use crate::videos::Videos;

pub(crate) struct Metrics {
    started: Instant,
    iterations: AtomicU64,
    frames: AtomicU64,
    done: AtomicU64,
    cancelled: AtomicU64,
    failed: AtomicU64,
    /// Requests by the first digit of the status.
    requests: [AtomicU64; 6],
    refused: AtomicU64,
    pub(crate) connections: AtomicUsize,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            iterations: AtomicU64::default(),
            frames: AtomicU64::default(),
            done: AtomicU64::default(),
            cancelled: AtomicU64::default(),
            failed: AtomicU64::default(),
            requests: Default::default(),
            refused: AtomicU64::default(),
            connections: AtomicUsize::default(),
        }
    }

    pub(crate) fn iterate(&self, frames: usize) {
        self.iterations.fetch_add(1, Ordering::Relaxed);
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, phase: Phase) {
        let counter = match phase {
            Phase::Done => &self.done,
            Phase::Failed => &self.failed,
            _ => &self.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answer(&self, status: u16) {
        let class = usize::from(status / 100).min(self.requests.len() - 1);
        self.requests[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refused connection.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// All counts as text.
    pub(crate) fn text(&self, videos: &Videos) -> String {
        let mut text = Text::default();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        text.metric(
            "uptime_seconds",
            "gauge",
            "Seconds since the server was started.",
        );
        text.value("", self.started.elapsed().as_secs_f64());
        text.metric("iterations_total", "counter", "Iterations of the sampler.");
        text.value("", get(&self.iterations));
        text.metric(
            "frames_total",
            "counter",
            "Finished frames, prefixes included.",
        );
        text.value("", get(&self.frames));
        text.metric(
            "videos_total",
            "counter",
            "Videos that ended, by how they did.",
        );
        text.value("{state=\"done\"}", get(&self.done));
        text.value("{state=\"cancelled\"}", get(&self.cancelled));
        text.value("{state=\"failed\"}", get(&self.failed));
        let (counts, bytes) = videos.count();
        text.metric("videos", "gauge", "Videos that the server knows, by state.");
        for (phase, count) in counts {
            let name = format!("{phase:?}").to_lowercase();
            text.value(&format!("{{state=\"{name}\"}}"), count as f64);
        }
        text.metric(
            "frame_bytes",
            "gauge",
            "Bytes of the frames of these videos.",
        );
        text.value("", bytes as f64);
        text.metric("connections", "gauge", "Open connections.");
        text.value("", self.connections.load(Ordering::Relaxed) as f64);
        text.metric(
            "connections_refused_total",
            "counter",
            "Connections that were one too many.",
        );
        text.value("", get(&self.refused));
        text.metric("requests_total", "counter", "Answered requests, by status.");
        for (class, counter) in self.requests.iter().enumerate().skip(2) {
            text.value(&format!("{{status=\"{class}xx\"}}"), get(counter));
        }
        if let Some(bytes) = memory::resident() {
            text.metric("resident_bytes", "gauge", "Memory of the process.");
            text.value("", bytes as f64);
        }
        text.text
    }
}

#[derive(Default)]
struct Text {
    text: String,
    name: String,
}

impl Text {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.name = format!("ar_serve_{name}");
        let name = &self.name;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}
