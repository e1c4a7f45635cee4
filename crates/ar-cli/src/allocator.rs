use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::exit::FAILED;

/// An allocator that ends the process with an error, instead of a crash, if the system has no memory left.
///
/// Large blocks are refused in the usual way, since a decoder may ask for one because a damaged file says so, and go on
/// without it. If it cannot, Rust prints lines of its own before the process ends.
#[derive(Debug)]
pub struct Allocator<A>(pub A);

/// Blocks from this number of bytes on are large.
const LARGE: usize = 1 << 30;

/// The bytes of the last large block that was refused.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the other allocator makes and frees all blocks.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        checked(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        checked(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        checked(unsafe { self.0.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.0.dealloc(block, layout) }
    }
}

fn checked(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        refused(size);
    }
    block
}

#[cold]
fn refused(size: usize) {
    if size < LARGE {
        end(size);
    }
    REFUSED.store(size, Ordering::Relaxed);
}

/// Ends the process, without memory: neither the standard library's output nor its end can be used.
fn end(size: usize) {
    #[cfg(unix)]
    {
        let mut message = [0; 160];
        let mut rest = &mut message[..];
        let _ = writeln!(
            rest,
            "error: out of memory, {size} bytes more are needed: raise the limit on memory (`ulimit -v`), or do less at once"
        );
        let length = 160 - rest.len();
        // SAFETY: the message is that long, and nothing of this process is used afterwards.
        unsafe {
            let _ = libc::write(2, message.as_ptr().cast(), length);
            libc::_exit(FAILED.into());
        }
    }
    #[cfg(not(unix))]
    let _ = (size, FAILED);
}

/// Makes a process that aborts because a large block was refused end with an error instead.
pub(crate) fn end_without_memory() {
    #[cfg(unix)]
    {
        extern "C" fn on_abort(_: libc::c_int) {
            match REFUSED.load(Ordering::Relaxed) {
                0 => {}
                size => end(size),
            }
        }
        // SAFETY: the handler only reads a number, writes to a file and ends the process; if it returns, the process
        // aborts as without it.
        unsafe {
            libc::signal(libc::SIGABRT, on_abort as *const () as libc::sighandler_t);
        }
    }
}
