//! Rust sources, read as far as modules, imports and paths go.

mod contents;
mod lexer;
mod tree;

pub(crate) use contents::{Contents, Import};
pub(crate) use tree::{Module, Tree};
