//! An ffmpeg that fails in the ways that programs fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::bench::{Bench, end};
use super::counts::Counts;

/// What the program does instead of its work.
const WAYS: [&str; 6] = [
    "exit 1",
    "echo 'no such option' >&2; exit 234",
    "kill -KILL $$",
    "head -c 5000 /dev/urandom; exit 0",
    "head -c 5000 /dev/urandom; exit 1",
    "exec >&- 2>&-; exit 0",
];

/// Latents of videos, encoded with an ffmpeg that sometimes fails: the stage ends with an error, or says what it left
/// out; with the real ffmpeg, it then ends as if nothing had happened.
pub(super) fn round(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    let videos = bench.path("movies");
    if !videos.exists() {
        fs::create_dir_all(&videos)?;
        for name in ["a", "b"] {
            bench.ok(&bench.sample(&format!("--frames 12 --out movies/{name}.mp4")))?;
        }
        fs::write(
            bench.path("movies.toml"),
            "vae = \"vae/model\"\nout = \"seen\"\n[data]\npath = \"movies\"\nvalidation = 0\n\
             [data.videos]\nsize = 32\nframes = 3\n",
        )?;
    }
    let program = bench.path("ffmpeg.sh");
    let way = WAYS[random.random_range(0..WAYS.len())];
    let share = random.random_range(1..4);
    // Sometimes it does the work.
    let script = format!(
        "#!/bin/bash\nif [ $((RANDOM % 4)) -lt {share} ]; then {way}; fi\nexec ffmpeg \"$@\"\n"
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let line = "ar-train latents --config movies.toml";
    let clean = |name: &str| {
        let folder = bench.path(name);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        Ok::<_, std::io::Error>(())
    };
    clean("seen")?;
    let mut command = bench.command(line);
    command.env("AR_FFMPEG", &program);
    let faulty = end(command)?;
    match (faulty.crash(), faulty.code()) {
        (Some(crash), _) => counts.fail(format!("decoder: {way}: {crash}")),
        (None, Some(0)) if faulty.stderr.contains("left out") || way_was_spared(&faulty.stderr) => {
            counts.add("stage with a failing ffmpeg that ended, and said what it left out");
        }
        (None, Some(2)) => counts.add("stage with a failing ffmpeg that ended with an error"),
        (None, code) => counts.fail(format!("decoder: {way}: {code:?}, {}", faulty.stderr)),
    }
    clean("seen")?;
    let real = bench.run(line)?;
    ensure!(real.code() == Some(0), "{line}: {}", real.stderr);
    Ok(())
}

/// Whether the real program did all the work.
fn way_was_spared(stderr: &str) -> bool {
    !stderr.contains("ffmpeg")
}
