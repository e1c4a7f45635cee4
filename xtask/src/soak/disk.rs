//! A disk that fills up.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::bench::{Bench, end};
use super::counts::Counts;

/// Limits the size of files: `ulimit` counts blocks of 1024 bytes. The signal at the limit is ignored, so that it is an
/// error, as on a full disk.
fn limited(kilobytes: usize, line: &str) -> String {
    format!("trap '' XFSZ; ulimit -f {kilobytes}; $AR/{line}")
}

pub(super) fn round(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    video(bench, random, counts)?;
    training(bench, random, counts)
}

/// A video that does not fit: the earlier one must still be there, and nothing else.
fn video(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    let folder = bench.path("full");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("v.rgb"), "old")?;
    let line = bench.sample("--frames 40 --out full/v.rgb");
    let end = end(bench.shell(&limited(random.random_range(1..100), &line)))?;
    let names = names(&folder)?;
    let is_old = fs::read(folder.join("v.rgb"))? == b"old";
    if end.code() == Some(2) && is_old && names == ["v.rgb"] {
        counts.add("video that did not fit, nothing half written");
    } else {
        counts.fail(format!("disk: {:?}, {names:?}, {}", end.code(), end.stderr));
    }
    Ok(())
}

/// Training on a small disk, if one can be mounted, or with limited file sizes: the run ends with an error, and
/// continues when there is room.
fn training(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    let folder = bench.path("small");
    fs::create_dir_all(&folder)?;
    let line = bench.vae("small/run", 6);
    let kilobytes = random.random_range(20..600);
    let size = format!("size={kilobytes}k");
    let is_mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "soak"])
        .arg(&folder)
        .output()
        .is_ok_and(|output| output.status.success());
    let ended = if is_mounted {
        bench.run(&line)?
    } else {
        end(bench.shell(&limited(kilobytes / 10 + 1, &line)))?
    };
    let what = match ended.code() {
        Some(0) => "training that just fitted the disk",
        _ => "training on a full disk, resumed with room",
    };
    let crash = ended.crash();
    if is_mounted {
        let remounted = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&folder)
            .status()?;
        if !remounted.success() {
            counts.fail("disk: cannot be made larger");
        }
    }
    let resumed = bench.run(&format!("{line} --resume"))?;
    if let Some(crash) = crash {
        counts.fail(format!("disk: training on {kilobytes} KB: {crash}"));
    } else if resumed.code() != Some(0) {
        counts.fail(format!("disk: not resumed: {}", resumed.stderr));
    } else {
        counts.add(what);
    }
    if is_mounted {
        Command::new("umount").arg(&folder).status()?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
