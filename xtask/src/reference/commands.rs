//! Runs the built commands for their output.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::commands::executable;

/// The first line of a generated page.
pub(super) fn notice(source: &str) -> String {
    format!("<!-- Written by `cargo xtask reference` from `{source}`; do not edit. -->\n\n")
}

/// The built commands.
pub(super) struct Commands {
    pub folder: PathBuf,
    /// For their outputs.
    pub scratch: PathBuf,
}

impl Commands {
    /// What a command prints.
    pub(super) fn say(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let path = self.folder.join(executable(name));
        let output = Command::new(&path)
            .args(arguments)
            .output()
            .with_context(|| path.display().to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{name} {}: {}",
            arguments.join(" "),
            errors.trim()
        );
        String::from_utf8(output.stdout).with_context(|| format!("{name}: the output"))
    }

    /// An unused path in the scratch folder.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch.join(name);
        if path.exists() {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        Ok(path)
    }
}
