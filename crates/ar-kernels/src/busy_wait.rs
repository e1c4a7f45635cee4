//! Busy-waiting of the thread pool's workers between kernels.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often a thread looks for work before it may go to sleep: about a millisecond. This is
/// limited because a thread may come here while it waits for another one, and would then notice the
/// result late.
const ROUNDS: usize = 1 << 12;
/// Between two rounds without work: a fraction of a microsecond.
const PAUSES: usize = 8;

/// How many threads look for work, or are about to.
static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// Keeps `threads` threads ready for the tasks that this thread is about to share with them.
///
/// A thread of the pool that finds no work for some ten microseconds falls asleep, and waking it
/// takes about as long as a task on a frame of few tokens. With kernels in quick succession, it
/// would fall asleep again and again.
pub(crate) fn keep_workers_awake(threads: usize) {
    let others = threads.min(rayon::current_num_threads()).saturating_sub(1);
    let caller = rayon::current_thread_index();
    for _ in AWAKE.load(Ordering::Relaxed)..others {
        AWAKE.fetch_add(1, Ordering::Relaxed);
        rayon::spawn(move || {
            // This thread takes it back if no other one was free.
            if rayon::current_thread_index() != caller {
                look_for_work();
            }
            AWAKE.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn look_for_work() {
    for _ in 0..ROUNDS {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            (0..PAUSES).for_each(|_| spin_loop());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use rayon::prelude::*;

    #[test]
    fn threads_that_wait_for_one_another_go_on() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        let sum: usize = pool.expect("threads").install(|| {
            let outer = (0..64usize).into_par_iter().map(|outer| {
                keep_workers_awake(3);
                let inner = (0..64).into_par_iter().map(|inner| {
                    keep_workers_awake(2);
                    outer * inner
                });
                inner.sum::<usize>()
            });
            outer.sum()
        });
        assert_eq!(sum, (63 * 32) * (63 * 32));
    }

    #[test]
    fn nobody_stays_awake_for_good() {
        keep_workers_awake(usize::MAX);
        let start = Instant::now();
        while AWAKE.load(Ordering::Relaxed) > 0 {
            assert!(start.elapsed() < Duration::from_secs(60), "still awake");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
