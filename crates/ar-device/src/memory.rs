//! Memory of the CPU.

/// Has the C library keep freed memory for the next allocation, rather than return it to the
/// operating system. For programs to call first in `main`; it concerns glibc alone.
///
/// Every operation on the CPU allocates its result, often megabytes. glibc asks the system for
/// such blocks one by one, which clears them page by page on first touch: half the time of a
/// training step of a small network. The price is that a program holds about its peak to the end.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` sets thresholds of the allocator, under the allocator's own lock.
    unsafe {
        // A gigabyte: larger blocks, such as whole weights files, still come and go.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
