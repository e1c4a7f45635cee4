use std::time::{Duration, Instant};

/// Runs `work`, and adds the time that it takes to `total`.
pub fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}
