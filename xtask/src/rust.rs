//! Rust sources, read as far as modules, imports and paths go.

mod contents;
mod lexer;
mod tree;

pub use contents::{Contents, Import};
pub use tree::{Module, Tree};
