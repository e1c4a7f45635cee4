//! Settings of a process that make computing on the CPU fast.

#[cfg(feature = "flex")]
use std::error::Error;
use std::thread::available_parallelism;

use crate::allocator::end_without_memory;
use crate::exit::FAILED;
use crate::{memory, tell};

/// The stack of a main thread on most systems; the pool's threads have 2 MiB by default.
const STACK_BYTES: usize = 8 << 20;

/// Runs the work of a program: `main` does little else.
///
/// On the CPU, every operation distributes its work over a pool of threads and waits for them. The work therefore runs
/// on a thread of that pool, which does a part itself: any other thread would go to sleep and be woken in every
/// operation, which takes as long as a small operation. Freed memory is also kept.
pub fn run_program<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    keep_freed_memory();
    outlive_long_files();
    end_without_memory();
    check_memory_limit();
    ar_files::on_wait(|path| {
        tell(format_args!(
            "waiting for {}: it is a pipe, and nothing is written to it",
            path.display()
        ));
    });
    in_pool(work)
}

/// Ends the process if its limit on memory leaves no room for the threads that compute and a small model. The system
/// would refuse threads or memory at a random place.
#[expect(clippy::exit, reason = "nothing can be done without memory")]
fn check_memory_limit() {
    /// The built-in model and the buffers of its videos.
    const MODEL_BYTES: u64 = 64 << 20;
    let (Some(limit), Some(code)) = (memory::limit(), memory::code()) else {
        return;
    };
    let threads = std::env::var("RAYON_NUM_THREADS").ok();
    let threads = threads
        .and_then(|threads| threads.parse().ok())
        .filter(|&threads| threads > 0);
    let threads = threads.or_else(|| {
        available_parallelism()
            .ok()
            .map(|threads| threads.get() as u64)
    });
    let needed = code + threads.unwrap_or(1) * STACK_BYTES as u64 + MODEL_BYTES;
    if limit < needed {
        tell(format_args!(
            "error: the limit on memory (`ulimit -v`) is {} KiB, but this program needs at least {}: raise it",
            limit >> 10,
            needed >> 10
        ));
        std::process::exit(FAILED.into());
    }
}

/// Makes exceeding the limit on file sizes an error about the file, instead of ending the process.
fn outlive_long_files() {
    #[cfg(unix)]
    // SAFETY: it changes what a signal does, and runs no code of ours.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

#[cfg(feature = "flex")]
#[expect(clippy::exit, reason = "nothing can be done without threads")]
fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK_BYTES);
    // If this is called twice, there is already a pool, and that one will do. If the system refuses threads, there is
    // none, and nothing can be computed.
    if let Err(error) = pool.build_global()
        && let Some(cause) = error.source()
    {
        tell(format_args!(
            "error: cannot start the threads that compute ({cause}): raise the limits on processes \
             and memory (`ulimit -u`, `-v`), or set RAYON_NUM_THREADS=1"
        ));
        std::process::exit(FAILED.into());
    }
    // If the pool has only one thread, it must be free for other threads that compute, such as the one that decodes
    // sampled frames, because this thread may wait for them.
    match rayon::current_num_threads() {
        1 => work(),
        _ => rayon::scope(|_| work()),
    }
}

#[cfg(not(feature = "flex"))]
fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    work()
}

/// Makes the C library keep freed memory for the next allocation, rather than return it to the operating system. This
/// affects only glibc: the allocators that a program chooses for its Rust code, like ours, keep memory by themselves.
///
/// Every operation on the CPU allocates its result, often megabytes. glibc requests such blocks one by one from the
/// system, which clears them page by page on first touch. That is half the time of a training step of a small network.
/// The price is that a program holds about its peak memory to the end.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` sets thresholds of the allocator, under the allocator's own lock.
    unsafe {
        // A gigabyte: larger blocks, such as whole weights files, are still returned.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
