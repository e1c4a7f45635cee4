//! The number of clips in the dataset, from one start of a run to the next.

use std::fs;
use std::io;
use std::path::Path;

use ar_files::write_atomically;

use crate::error::{Error, Result};

/// File in the folder of a run with the number of clips that it was last started with.
const CLIPS_FILE: &str = "clips.txt";

/// Records in the folder of a run that its dataset has `clips` clips. Returns how many there were
/// when the run was last started, if the number has changed.
///
/// # Errors
/// If the folder cannot be read or written.
pub(super) fn note(run: &Path, clips: usize) -> Result<Option<usize>> {
    let path = run.join(CLIPS_FILE);
    let before = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io(&path)(error)),
    };
    write_atomically(&path, format!("{clips}\n").as_bytes()).map_err(Error::io(&path))?;
    Ok(before.filter(|&before| before != clips))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_number_of_clips_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let note = |clips| note(folder.path(), clips).expect("a note");
        assert_eq!(
            [note(7), note(7), note(5), note(5)],
            [None, None, Some(7), None]
        );
    }
}
