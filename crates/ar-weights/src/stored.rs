use std::fmt;
use std::io;
use std::sync::Arc;

use crate::floats::Floats;

/// A tensor that may still be in its file.
#[derive(Clone)]
pub(crate) struct Stored {
    pub shape: Vec<usize>,
    /// None for integers and the like, which no network here has.
    pub floats: Option<Floats>,
    /// The bytes of all elements, little-endian.
    pub read: Arc<dyn Fn() -> io::Result<Vec<u8>> + Send + Sync>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stored").field(&self.shape).finish()
    }
}

impl Stored {
    /// The elements as 32-bit floats.
    pub(crate) fn values(&self) -> io::Result<Vec<f32>> {
        let floats = self
            .floats
            .ok_or_else(|| io::Error::other("these are no floats"))?;
        Ok(floats.widen(&(self.read)()?))
    }
}
