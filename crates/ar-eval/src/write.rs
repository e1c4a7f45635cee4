use std::path::Path;

use ar_files::write_atomically;

use crate::files::{PAGE, REPORT};
use crate::{EvaluationError, Report, page};

impl Report {
    /// Writes report.json and report.html into a folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<(), EvaluationError> {
        let json = serde_json::to_string_pretty(self).expect("a report is plain values") + "\n";
        let page = page::html(self).map_err(|error| EvaluationError::Plot(error.to_string()))?;
        for (name, text) in [(REPORT, json), (PAGE, page)] {
            let path = folder.as_ref().join(name);
            write_atomically(&path, text.as_bytes()).map_err(EvaluationError::write(&path))?;
        }
        Ok(())
    }
}
