//! Names of files.

use std::path::Path;

/// Whether the name starts with a dot; what has no name is hidden too.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether the name ends in one of these extensions, in any case.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .is_some_and(|e| extensions.iter().any(|known| e.eq_ignore_ascii_case(known)))
}
