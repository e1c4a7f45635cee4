//! Damaged files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::bench::Bench;
use super::counts::Counts;

/// Number of files that are damaged per round.
const FILES: usize = 10;

/// A folder of files with checksums, and the command that reads it.
struct Target {
    what: &'static str,
    folder: &'static str,
    line: String,
}

fn targets(bench: &Bench) -> [Target; 3] {
    [
        Target {
            what: "model",
            folder: "run/model",
            line: bench.sample("--out damaged.gif"),
        },
        Target {
            what: "latents",
            folder: "latents",
            line: bench.diffusion("damaged", 1),
        },
        Target {
            what: "checkpoint",
            folder: "run/checkpoints/step-00000003",
            line: format!("{} --resume", bench.diffusion("run", 3)),
        },
    ]
}

/// The files of a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
        if path.is_file() && !path.file_name().is_some_and(is_hidden) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Damages a file that has a checksum; the error must name it.
pub(super) fn round(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    for _ in 0..FILES {
        let targets = targets(bench);
        let Target { what, folder, line } = &targets[random.random_range(0..targets.len())];
        let backup = bench.copy("run", "backup")?;
        let files = files(&bench.path(folder))?;
        let file = &files[random.random_range(0..files.len())];
        let whole = fs::read(file)?;
        let mut bytes = whole.clone();
        let how = match random.random_range(0..4) {
            0 => {
                bytes.truncate(random.random_range(0..whole.len()));
                "cut"
            }
            1 => {
                bytes.clear();
                "emptied"
            }
            _ => {
                let bit = random.random_range(0..8 * whole.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
                "with a flipped bit"
            }
        };
        fs::write(file, &bytes)?;
        let end = bench.run(line)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // A list beside a file belongs to that file.
        let name = name.trim_end_matches(".checksum");
        let shown = format!("damage: {} {how}", file.display());
        let is_resumed = *what == "checkpoint";
        let expected = if is_resumed { Some(0) } else { Some(2) };
        if let Some(crash) = end.crash() {
            counts.fail(format!("{shown}: {crash}"));
        } else if end.code() != expected || !end.stderr.contains(name) {
            counts.fail(format!("{shown}: {:?}, {}", end.code(), end.stderr));
        } else if is_resumed
            && !end
                .stderr
                .contains("resuming from run/checkpoints/step-00000002")
        {
            counts.fail(format!("{shown}: it does not go back: {}", end.stderr));
        } else {
            counts.add(format!("{what}: file {how}, named"));
        }
        // A checkpoint has been set aside with it.
        if file.exists() {
            fs::write(file, &whole)?;
        }
        fs::remove_dir_all(bench.path("run"))?;
        fs::rename(backup, bench.path("run"))?;
        let _ = fs::remove_dir_all(bench.path("damaged"));
    }
    Ok(())
}

/// Writes random bytes that no checksum covers: nothing may panic, hang or be ended by a signal.
pub(super) fn mutations(bench: &Bench, random: &mut ChaCha8Rng, counts: &mut Counts) -> Result<()> {
    for _ in 0..FILES {
        bench.copy("run", "mutated")?;
        bench.copy("latents", "mutated-latents")?;
        let (what, folder, line) = match random.random_range(0..4) {
            0 => (
                "model",
                "mutated/model",
                "ar-sample --model mutated/model --steps 4 --ar-step 2 --quiet --out m.gif".into(),
            ),
            1 => (
                "latents",
                "mutated-latents",
                bench
                    .diffusion("mutated", 3)
                    .replace("data.latents=latents", "data.latents=mutated-latents"),
            ),
            2 => (
                "checkpoint",
                "mutated/checkpoints/step-00000003",
                format!("{} --resume", bench.diffusion("mutated", 4)),
            ),
            _ => ("configuration", "configs", String::new()),
        };
        let (file, line) = if what == "configuration" {
            let file = bench.path("mutated.toml");
            fs::copy(bench.path("run/config.toml"), &file)?;
            let line = "ar-train diffusion --config mutated.toml --set run.out=mutated \
                        --set run.steps=4 --resume";
            (file, line.to_owned())
        } else {
            let mut files = files(&bench.path(folder))?;
            for list in files.extract_if(.., |path| {
                let name = path.to_string_lossy();
                name.ends_with("checksums.txt") || name.ends_with(".checksum")
            }) {
                fs::remove_file(list)?;
            }
            // As an older version wrote them: what has lost its checksums is refused at once.
            for name in ["state.toml", "index.json"] {
                let Some(path) = files.iter().find(|path| path.ends_with(name)) else {
                    continue;
                };
                let text = fs::read_to_string(path)?;
                let lines = text.lines().filter(|line| !line.contains("\"content\": "));
                let lines: Vec<&str> = lines.filter(|line| *line != "checksums = true").collect();
                let text = lines.join("\n");
                fs::write(
                    path,
                    text.replace("\"checksums\": true,", "\"checksums\": false"),
                )?;
            }
            if what == "latents" {
                fs::remove_dir_all(bench.path("mutated"))?;
            }
            (files[random.random_range(0..files.len())].clone(), line)
        };
        let mut bytes = fs::read(&file)?;
        mutate(&mut bytes, random);
        fs::write(&file, &bytes)?;
        let end = bench.run(&line)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match (end.crash(), end.code()) {
            (Some(crash), _) => {
                let kept = bench.folder.with_file_name(format!("soak-{name}"));
                fs::copy(&file, &kept)?;
                counts.fail(format!(
                    "mutations: {what} {name} ({}): {crash}",
                    kept.display()
                ));
            }
            (None, Some(0)) => counts.add(format!("{what}: mutated, read")),
            (None, _) => counts.add(format!("{what}: mutated, refused")),
        }
    }
    Ok(())
}

/// Changes a few bytes, removes or repeats some, or replaces a number by another.
fn mutate(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    const NUMBERS: [&str; 8] = [
        "0",
        "-1",
        "9223372036854775807",
        "4611686018427387904",
        "18446744073709551615",
        "1e308",
        "nan",
        "[]",
    ];
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.random_range(0..bytes.len());
        let end = bytes.len().min(at + random.random_range(1..9));
        match random.random_range(0..5) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                // The next number, if there is one.
                let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit) else {
                    continue;
                };
                let start = at + start;
                let length = bytes[start..]
                    .iter()
                    .take_while(|b| b.is_ascii_digit())
                    .count();
                let number = NUMBERS[random.random_range(0..NUMBERS.len())];
                bytes.splice(start..start + length, number.bytes());
            }
        }
    }
}
