use std::fmt;
use std::io;
use std::sync::Arc;

use crate::floats::{Floats, Widened};

/// Replaces the contents of a buffer with the bytes of all elements, little-endian.
type ReadBytes = dyn Fn(&mut Vec<u8>) -> io::Result<()> + Send + Sync;

/// A tensor that may still be in its file.
#[derive(Clone)]
pub(crate) struct Stored {
    pub shape: Vec<usize>,
    /// None for integers and the like, which no network here uses.
    pub floats: Option<Floats>,
    pub read: Arc<ReadBytes>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stored").field(&self.shape).finish()
    }
}

impl Stored {
    /// The bytes of all elements, little-endian.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (self.read)(&mut bytes)?;
        Ok(bytes)
    }

    /// The elements as f32.
    pub(crate) fn values(&self) -> io::Result<Vec<f32>> {
        Ok(self.widened()?.values)
    }

    /// [`values`](Self::values), and the largest of them.
    pub(crate) fn widened(&self) -> io::Result<Widened> {
        Ok(self.floats()?.widen(&self.bytes()?))
    }

    /// The elements as f32, with a matrix transposed if asked; read through `buffer`, which many
    /// tensors can share.
    pub(crate) fn parameter(
        &self,
        is_transposed: bool,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Widened> {
        let floats = self.floats()?;
        (self.read)(buffer)?;
        Ok(match self.shape[..] {
            [rows, columns] if is_transposed => floats.widen_transposed(buffer, [rows, columns]),
            _ => floats.widen(buffer),
        })
    }

    fn floats(&self) -> io::Result<Floats> {
        let no_floats = || io::Error::other("these are not floats");
        self.floats.ok_or_else(no_floats)
    }
}
