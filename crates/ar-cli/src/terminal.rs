use std::io::{IsTerminal, stderr};

use console::Term;

/// Columns and rows of the terminal that messages go to, if they go to one.
pub fn terminal_size() -> Option<(usize, usize)> {
    if !stderr().is_terminal() {
        return None;
    }
    let (rows, columns) = Term::stderr().size();
    Some((columns.into(), rows.into()))
}
