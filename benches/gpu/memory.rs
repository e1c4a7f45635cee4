//! The memory of a device that is in use, from its driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nvml_wrapper::Nvml;

/// How often the driver is asked.
const INTERVAL: Duration = Duration::from_millis(10);

/// Watches the first NVIDIA card of the machine; other drivers do not report it.
pub(crate) struct MemoryWatch {
    at_start: u64,
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Starts watching, if there is such a card.
    pub(crate) fn start() -> Option<Self> {
        let at_start = used()?;
        let peak = Arc::new(AtomicU64::new(at_start));
        let stop = Arc::new(AtomicBool::new(false));
        let (most, end) = (Arc::clone(&peak), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let Ok(nvml) = Nvml::init() else { return };
            while !end.load(Ordering::Relaxed) {
                if let Some(bytes) = used_by(&nvml) {
                    most.fetch_max(bytes, Ordering::Relaxed);
                }
                thread::sleep(INTERVAL);
            }
        });
        Some(Self {
            at_start,
            peak,
            stop,
            thread: Some(thread),
        })
    }

    /// The peak use since the start, in bytes, minus the use before.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed) - self.at_start
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// Bytes in use on the first card.
pub(crate) fn used() -> Option<u64> {
    used_by(&Nvml::init().ok()?)
}

fn used_by(nvml: &Nvml) -> Option<u64> {
    let card = nvml.device_by_index(0).ok()?;
    Some(card.memory_info().ok()?.used)
}
