//! Numbers that tell files from others.

use std::fmt;
use std::path::Path;

use anyhow::Context;

/// A number that depends on every byte of what it is told, in its order: 64-bit FNV-1a.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of nothing.
    pub const NOTHING: Self = Self(0xcbf2_9ce4_8422_2325);

    /// With more bytes.
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// With the contents of a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn and_file(self, path: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("{}: cannot read", path.display()))?;
        Ok(self.and(&bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
