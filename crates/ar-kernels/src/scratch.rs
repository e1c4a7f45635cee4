//! Scratch memory, reused from kernel to kernel.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    /// Buffers that this thread has used before.
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Scratch memory of a kernel. Its initial values are arbitrary.
///
/// With only a few tokens, allocating and clearing memory takes as long as some of the products.
pub(crate) struct Scratch {
    values: Vec<f32>,
    len: usize,
}

impl Scratch {
    /// The most values that a thread keeps in one piece. It keeps as many pieces as it has ever
    /// used at once.
    const KEPT: usize = 1 << 18;

    pub(crate) fn new(len: usize) -> Self {
        let mut values = if len <= Self::KEPT {
            FREE.with_borrow_mut(Vec::pop).unwrap_or_default()
        } else {
            Vec::new()
        };
        if values.len() < len {
            values = vec![0.0; len];
        }
        Self { values, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.values.len() <= Self::KEPT {
            let values = std::mem::take(&mut self.values);
            // A thread that is ending can no longer keep it.
            let _ = FREE.try_with(|free| free.borrow_mut().push(values));
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}
