//! Options of attention: heads, RoPE and mask.

use std::fmt;
use std::sync::Arc;

use crate::rotary::Rope;

/// Which keys are hidden from which queries, in every sample and head. Every query sees at least
/// one key.
pub struct HiddenKeys {
    /// `[queries, keys]`, `true` where hidden.
    values: Vec<bool>,
    pub(super) keys: usize,
    /// For every query, the number of keys up to the last one that it sees.
    pub(super) reach: Vec<usize>,
}

impl HiddenKeys {
    /// The mask from a table.
    ///
    /// # Shapes
    /// - `values`: `[queries, keys]`, `true` where hidden
    pub fn new(values: Vec<bool>, keys: usize) -> Self {
        let last = |row: &[bool]| row.iter().rposition(|&hidden| !hidden);
        let reach = values
            .chunks_exact(keys)
            .map(|row| last(row).map_or(0, |last| last + 1));
        Self {
            reach: reach.collect(),
            keys,
            values,
        }
    }

    pub(super) fn row(&self, query: usize) -> &[bool] {
        &self.values[query * self.keys..][..self.keys]
    }
}

/// Short, without the values of the table.
impl fmt::Debug for HiddenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HiddenKeys")
            .field("queries", &self.reach.len())
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// Options of attention.
#[derive(Clone, Debug)]
pub struct KernelOptions {
    /// Number of heads.
    pub heads: usize,
    /// RoPE of queries and keys, if any.
    pub rope: Option<Rope>,
    /// The mask, if any.
    pub hidden: Option<Arc<HiddenKeys>>,
    /// Epsilon of the layer norms of queries and keys, if there are any.
    pub epsilon: f64,
}
