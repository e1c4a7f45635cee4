//! How a program should run so that the CPU computes fast.

#[cfg(feature = "flex")]
use std::error::Error;

#[cfg(feature = "flex")]
use crate::{exit::FAILED, tell};

/// Runs the work of a program: `main` does little else.
///
/// On the CPU every operation hands parts of its work to a pool of threads and waits for them. The
/// work therefore runs on a thread of that pool, which does a part itself: any other thread would go
/// to sleep and be woken in every operation, and small operations take no longer than that. Freed
/// memory is kept as well.
pub fn run_program<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    keep_freed_memory();
    in_pool(work)
}

#[cfg(feature = "flex")]
#[expect(clippy::exit, reason = "nothing can be done without threads")]
fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    /// What a main thread has on most systems; the pool's threads have 2 MiB by default.
    const STACK_BYTES: usize = 8 << 20;
    let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES);
    // There already is a pool where this is called twice, and that one does. Where the system
    // refuses threads, there is none, and nothing can be computed.
    if let Err(error) = pool.build_global()
        && let Some(cause) = error.source()
    {
        tell(format_args!(
            "error: cannot start the threads that compute ({cause}): raise the limit on processes \
             (`ulimit -u`), or set RAYON_NUM_THREADS=1"
        ));
        std::process::exit(FAILED.into());
    }
    // The only thread of a pool must be free for other threads that compute, such as the one that
    // decodes what is sampled: this one may wait for them.
    match rayon::current_num_threads() {
        1 => work(),
        _ => rayon::scope(|_| work()),
    }
}

#[cfg(not(feature = "flex"))]
fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    work()
}

/// Has the C library keep freed memory for the next allocation, rather than return it to the
/// operating system. It concerns only glibc: allocators that a program chooses for its Rust code, as
/// ours do, keep memory by themselves.
///
/// Every operation on the CPU allocates its result, often megabytes. glibc asks the system for
/// such blocks one by one, which clears them page by page on first touch: half the time of a
/// training step of a small network. The price is that a program holds about its peak to the end.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` sets thresholds of the allocator, under the allocator's own lock.
    unsafe {
        // A gigabyte: larger blocks, such as whole weights files, still come and go.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
