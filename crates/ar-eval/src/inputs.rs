//! Keeps an evaluation from changing what it reads.

use std::path::Path;

use ar_files::{is_same_file, lies_in};
use ar_pipeline::ModelSource;

use crate::files::{PAGE, PROTOCOL, REPORT};
use crate::{EvaluationError, EvaluationOptions};

/// Fails if the folder of the evaluation would change an input that its options name.
///
/// # Errors
/// In that case.
pub(crate) fn check_inputs(
    model: &ModelSource,
    options: &EvaluationOptions,
) -> Result<(), EvaluationError> {
    let model = match model {
        ModelSource::Directory(path) => Some(path.as_path()),
        _ => None,
    };
    let weights = options.networks.iter().map(|file| file.path.as_path());
    let named = [
        ("model", model),
        ("data", options.data.as_deref()),
        ("videos", options.videos.as_deref()),
    ];
    let named = named
        .into_iter()
        .filter_map(|(option, path)| Some((option, path?)));
    named
        .chain(weights.map(|path| ("weights", path)))
        .try_for_each(|(option, path)| check_input(&options.out, option, path))
}

/// Fails if an evaluation in the folder `out` would add to the folder, or replace the file, at `path`, the value of
/// `option`. Links and other spellings are recognised.
///
/// # Errors
/// In that case.
pub(crate) fn check_input(
    out: &Path,
    option: &'static str,
    path: &Path,
) -> Result<(), EvaluationError> {
    let (out_shown, shown) = (out.display(), path.display());
    if path.is_dir() {
        if lies_in(out, path) {
            let reason =
                format!("{out_shown} is in {shown}, which `{option}` reads: choose another folder");
            return Err(EvaluationError::option("out", reason));
        }
        return Ok(());
    }
    let mut files = [PROTOCOL, REPORT, PAGE].into_iter();
    match files.find(|name| is_same_file(out.join(name), path)) {
        Some(name) => Err(EvaluationError::option(
            "out",
            format!(
                "{out_shown}: {name} there is {shown}, which `{option}` reads: choose another folder"
            ),
        )),
        None => Ok(()),
    }
}
