//! The bodies of the fuzz targets, with different files each time.

use std::process::Command;

use anyhow::{Result, ensure};

use super::bench::{Bench, end};
use super::counts::Counts;
use crate::workspace::cargo;

/// Builds the tests, which may take longer than any round.
pub(super) fn build(bench: &Bench) -> Result<()> {
    let status = tests(bench).arg("--no-run").status()?;
    ensure!(status.success(), "the property tests cannot be built");
    Ok(())
}

fn tests(bench: &Bench) -> Command {
    let mut command = cargo();
    // All packages, so that cargo chooses features that are already built.
    command
        .args([
            "test",
            "--quiet",
            "--workspace",
            "--test",
            "it",
            "--test",
            "damage",
        ])
        .current_dir(&bench.root);
    command
}

pub(super) fn round(bench: &Bench, counts: &mut Counts) -> Result<()> {
    let mut command = tests(bench);
    command
        .args(["--", "damaged", "folders_of_anything", "--nocapture"])
        .env("AR_FUZZ_TIMES", "1");
    let end = end(command)?;
    if end.code() == Some(0) {
        counts.add("property tests of the parsers, with random files");
    } else {
        counts.fail(format!("parsers: {:?}, {}", end.code(), end.stderr));
    }
    Ok(())
}
