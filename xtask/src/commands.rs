//! Builds and runs the users' commands.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{Workspace, cargo};

/// All commands. They are built together, so that they share dependencies.
pub(crate) const COMMANDS: [&str; 3] = ["ar-train", "ar-sample", "ar-serve"];

/// Builds the commands with their `features`.
pub(crate) fn build(workspace: &Workspace, features: Option<&str>) -> Result<()> {
    let mut build = cargo();
    build.current_dir(&workspace.root);
    build.args(["build", "--release"]);
    for command in COMMANDS {
        build.args(["--package", command]);
    }
    if let Some(features) = features {
        build.args(["--features", features]);
    }
    succeed(&mut build)
}

/// The path of a built command.
pub(crate) fn built(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target.join("release").join(executable(name))
}

/// The file name of a command.
pub(crate) fn executable(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

/// Runs a command; the standard output is for tables.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdout(io::stderr())
        .status()
        .with_context(|| program.clone())?;
    ensure!(status.success(), "{program} did not succeed");
    Ok(())
}
