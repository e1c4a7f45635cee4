//! The bodies of the fuzz targets, with different files each time.

use anyhow::Result;

use super::bench::{Bench, end};
use super::counts::Counts;
use crate::workspace::cargo;

pub(super) fn round(bench: &Bench, counts: &mut Counts) -> Result<()> {
    let mut command = cargo();
    command
        // All packages, so that cargo chooses features that are already built.
        .args([
            "test",
            "--quiet",
            "--workspace",
            "--test",
            "it",
            "--test",
            "damage",
        ])
        .args(["--", "damaged", "folders_of_anything"])
        .current_dir(&bench.root)
        .env("AR_FUZZ_TIMES", "1");
    let end = end(command)?;
    if end.code() == Some(0) {
        counts.add("property tests of the parsers, with random files");
    } else {
        counts.fail(format!("parsers: {:?}, {}", end.code(), end.stderr));
    }
    Ok(())
}
