//! How packed factors lie in memory.

/// Rows and columns of the part of the output that a kernel computes at a time: two tiles by two.
pub(super) const BLOCK: usize = 32;
/// Depth of a tile.
pub(super) const DEPTH: usize = 32;
/// A row of a tile: 32 values.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u16; 32]);

/// Lines of a block or panel for each tile of depth: two tiles.
pub(super) const LINES: usize = 32;
