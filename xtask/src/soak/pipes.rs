//! Readers that go away, and signals to the process group.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::bench::{Bench, end, wait};
use super::counts::Counts;

pub(super) fn round(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    closed_video(bench, random, counts)?;
    closed_messages(bench, random, counts)?;
    for _ in 0..3 {
        signal(bench, random, counts)?;
    }
    Ok(())
}

/// `| head -c` at a random byte.
fn closed_video(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    let bytes = random.random_range(0..200_000);
    let sample = bench.sample("--frames 1000000 --out - --format raw");
    for (others, expected) in [("", 0), ("--save-latents closed.safetensors", 2)] {
        let line =
            format!("$AR/{sample} {others} | head -c {bytes} >/dev/null; exit ${{PIPESTATUS[0]}}");
        let end = end(bench.shell(&line))?;
        if end.code() == Some(expected) {
            counts.add("video closed by its reader");
        } else {
            counts.fail(format!("pipes: {line}: {:?}, {}", end.code(), end.stderr));
        }
    }
    Ok(())
}

/// Messages that nobody can read.
fn closed_messages(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    const WAYS: [&str; 4] = ["2>/dev/full", "2>&-", ">&- 2>&-", "2> >(true)"];
    let way = WAYS[random.random_range(0..WAYS.len())];
    let _ = fs::remove_dir_all(bench.path("unheard"));
    let end = end(bench.shell(&format!("$AR/{} {way}", bench.vae("unheard", 2))))?;
    if end.code() == Some(0) && bench.path("unheard/model/vae.safetensors").is_file() {
        counts.add("training whose messages nobody reads");
    } else {
        counts.fail(format!("pipes: {way}: {:?}", end.code()));
    }
    Ok(())
}

/// A signal to a line with `tee` at its end, at a random moment.
fn signal(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    let signal = ["INT", "TERM"][random.random_range(0..2)];
    let trains = random.random_bool(0.5);
    let (command, expected) = if trains {
        let _ = fs::remove_dir_all(bench.path("stopped"));
        (bench.vae("stopped", 1_000_000), "stopped/checkpoints")
    } else {
        let _ = fs::remove_file(bench.path("stopped.gif"));
        (
            bench.sample("--frames 1000000 --out stopped.gif"),
            "stopped.gif",
        )
    };
    let line = format!(
        "trap : {signal}; $AR/{command} 2>&1 | tee log >/dev/null; echo ${{PIPESTATUS[0]}} >code"
    );
    let mut child = bench
        .shell(&line)
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    sleep(Duration::from_millis(random.random_range(1500..4000)));
    let group = format!("-{}", child.id());
    Command::new("kill")
        .args([&format!("-{signal}"), "--", &group])
        .status()?;
    let status = wait(&mut child)?;
    let code = fs::read_to_string(bench.path("code")).unwrap_or_default();
    if status.is_some() && code.trim() == "130" && bench.path(expected).exists() {
        counts.add(format!("SIG{signal} to the group, work kept"));
    } else {
        counts.fail(format!("pipes: SIG{signal}, {command}: {status:?}, {code}"));
    }
    Ok(())
}
