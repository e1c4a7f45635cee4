//! `cargo xtask published`: imports files with exactly the tensors of the published checkpoints and
//! samples from them, and prints time and memory. The values are random.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ar_cli::memory;
use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, json};

use crate::commands::{build, built, executable};
use crate::table::{bytes, duration, significant, table};
use crate::workspace::Workspace;

/// The lists of tensors.
const LISTS: &str = "crates/ar-model/tests/published";

/// An import may take this many times the size of its largest file in memory.
const MOST_MEMORY: f64 = 1.3;

/// Sizes in the small files, for each published size.
const SMALL: [(usize, usize); 9] = [
    (257, 17),
    (1024, 64),
    (1152, 72),
    (2048, 128),
    (3072, 192),
    (3456, 216),
    (4096, 256),
    (4608, 288),
    (6912, 432),
];

/// Layers of the small files.
const SMALL_DEPTH: usize = 2;

/// Values are drawn once and repeated; no tensor's length is a multiple of this number.
const DRAWN: usize = (1 << 20) + 7;

#[derive(Args)]
pub(crate) struct Options {
    /// Uses small files with the same layout, which takes seconds instead of minutes
    #[arg(long)]
    small: bool,
    /// Folder of built commands [default: build them, in the release profile]
    #[arg(long, value_name = "DIR")]
    commands: Option<PathBuf>,
    /// Folder for the files; 15 GB of them are removed at the end [default: in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// A pair of files to import.
struct Case {
    about: &'static str,
    floats: Floats,
    transformer: &'static str,
    /// The list of the VAE.
    vae: &'static str,
    /// Whether it is in the transformer's file.
    inside: bool,
    options: &'static [&'static str],
}

const CASES: [Case; 2] = [
    Case {
        about: "unconditional, f16, imported with --half",
        floats: Floats::F16,
        transformer: "diffusion",
        vae: "vae",
        inside: false,
        options: &["--half"],
    },
    Case {
        about: "UCF-101, f32, VAE inside",
        floats: Floats::F32,
        transformer: "diffusion-class",
        vae: "vae",
        inside: true,
        options: &[],
    },
];

#[derive(Clone, Copy)]
enum Floats {
    F16,
    F32,
}

/// A tensor's name and shape.
type Entry = (String, Vec<usize>);

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let programs = match &options.commands {
        Some(folder) => folder.clone(),
        None => {
            build(workspace, None)?;
            let program = built(workspace, "ar-train");
            program.parent().context("a folder")?.to_owned()
        }
    };
    let scratch = match &options.scratch {
        Some(folder) => folder.clone(),
        None => workspace.target.join("published"),
    };
    let mut rows = Vec::new();
    let mut is_frugal = true;
    for case in &CASES {
        fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
        let measured = measure(workspace, case, &programs, &scratch, options.small);
        fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
        let (largest, runs) = measured?;
        for (what, run) in runs {
            let peak = run.peak.map_or("?".into(), |peak| bytes(peak as f64));
            let share = run.peak.map(|peak| peak as f64 / largest as f64);
            is_frugal &= what != "import" || share.is_none_or(|share| share <= MOST_MEMORY);
            rows.push([
                format!("{}: {what}", case.about),
                bytes(largest as f64),
                duration(run.time.as_secs_f64()),
                peak,
                share.map_or("?".into(), significant),
            ]);
        }
    }
    let head = [
        "files",
        "largest file",
        "time",
        "peak memory",
        "of the largest file",
    ];
    print!("{}", table(head, &rows));
    // Even a program without a file is larger than the small files.
    if is_frugal || options.small {
        return Ok(ExitCode::SUCCESS);
    }
    println!("an import took more than {MOST_MEMORY} times the memory of its largest file");
    Ok(ExitCode::FAILURE)
}

/// Time and memory of a program.
struct Run {
    time: Duration,
    /// Peak memory in bytes, if known.
    peak: Option<u64>,
}

/// Bytes of the larger file, and the costs of import and sampling.
fn measure(
    workspace: &Workspace,
    case: &Case,
    programs: &Path,
    scratch: &Path,
    small: bool,
) -> Result<(u64, [(&'static str, Run); 2])> {
    let list = |name: &str| {
        tensors(
            &workspace.root.join(LISTS).join(format!("{name}.txt")),
            small,
        )
    };
    let mut transformer = list(case.transformer)?;
    let mut vae = list(case.vae)?;
    let path = |name: &str| scratch.join(name);
    let (transformer_file, vae_file) = (path("diffusion.safetensors"), path("vae.safetensors"));
    let mut import = Command::new(programs.join(executable("ar-train")));
    import
        .arg("import")
        .arg("--transformer")
        .arg(&transformer_file);
    let mut largest = 0;
    if case.inside {
        let inside = vae
            .drain(..)
            .map(|(name, shape)| (format!("vae.{name}"), shape));
        transformer.extend(inside);
    } else {
        largest = write(&vae_file, &vae, case.floats)?;
        import.arg("--vae").arg(&vae_file);
    }
    largest = largest.max(write(&transformer_file, &transformer, case.floats)?);
    let model = path("model");
    import.args(case.options).arg("--out").arg(&model);
    let imported = watch(&mut import)?;
    // Makes room for the sampled frames, and keeps the model from being read from the system's cache.
    fs::remove_file(&transformer_file)?;
    let mut sample = Command::new(programs.join(executable("ar-sample")));
    sample.arg("--model").arg(&model);
    sample.args(["--frames", "2", "--steps", "2", "--ar-step", "1"]);
    if case.transformer == "diffusion-class" {
        sample.args(["--class", "ApplyEyeMakeup"]);
    }
    sample.arg("--out").arg(path("sample.gif"));
    let sampled = watch(&mut sample)?;
    Ok((largest, [("import", imported), ("two frames", sampled)]))
}

/// Runs a program, and watches its memory.
fn watch(command: &mut Command) -> Result<Run> {
    let start = Instant::now();
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| name.clone())?;
    let mut peak = None;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{name} did not succeed");
            let time = start.elapsed();
            return Ok(Run { time, peak });
        }
        peak = peak.max(memory::peak_of(child.id()));
        sleep(Duration::from_millis(5));
    }
}

/// Reads a list: `NAME AxB` per line, with `{0..N}` in the name for the numbers below N.
fn tensors(path: &Path, small: bool) -> Result<Vec<Entry>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut entries = Vec::new();
    for line in text.lines() {
        let entry = || -> Option<()> {
            let (name, shape) = line.split_once(' ')?;
            let sizes = shape
                .split('x')
                .map(|size| Some(scaled(size.parse().ok()?, small)));
            let shape: Vec<usize> = sizes.collect::<Option<_>>()?;
            let Some((start, rest)) = name.split_once("{0..") else {
                entries.push((name.to_owned(), shape));
                return Some(());
            };
            let (count, end) = rest.split_once('}')?;
            let count = if small {
                SMALL_DEPTH
            } else {
                count.parse().ok()?
            };
            let name = |number| format!("{start}{number}{end}");
            entries.extend((0..count).map(|number| (name(number), shape.clone())));
            Some(())
        };
        let mut entry = entry;
        entry().with_context(|| format!("{}: {line}", path.display()))?;
    }
    Ok(entries)
}

fn scaled(size: usize, small: bool) -> usize {
    let found = SMALL
        .iter()
        .find(|(published, _)| small && *published == size);
    found.map_or(size, |&(_, small)| small)
}

/// Writes random tensors as safetensors, and returns the file's length.
fn write(path: &Path, tensors: &[Entry], floats: Floats) -> Result<u64> {
    let (dtype, size) = match floats {
        Floats::F16 => ("F16", 2),
        Floats::F32 => ("F32", 4),
    };
    let mut header = Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += size * shape.iter().product::<usize>();
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header)?;
    let mut file = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let drawn = draw(floats);
    let mut left = end;
    while left > 0 {
        let part = left.min(drawn.len());
        file.write_all(&drawn[..part])?;
        left -= part;
    }
    file.into_inner()?.sync_all()?;
    Ok(fs::metadata(path)?.len())
}

/// Values of small networks at their start: of either sign, between 2^-9 and 2^-6.
fn draw(floats: Floats) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut values = Vec::new();
    for _ in 0..DRAWN {
        let bits = random.next_u32();
        let exponent = bits % 3;
        match floats {
            // Sign, exponent above -15, and 10 bits of fraction.
            Floats::F16 => {
                let value = (bits >> 16 & 0x8000) | (6 + exponent) << 10 | (bits >> 8 & 0x3ff);
                values.extend((value as u16).to_le_bytes());
            }
            // Sign, exponent above -127, and 23 bits of fraction.
            Floats::F32 => {
                let value = (bits & 0x8000_0000) | (118 + exponent) << 23 | (bits >> 8 & 0x7f_ffff);
                values.extend(value.to_le_bytes());
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_long_as_the_published_ones() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(LISTS);
        let count = |name: &str, small| {
            let entries = tensors(&root.join(format!("{name}.txt")), small).expect("a list");
            let values = entries
                .iter()
                .map(|(_, shape)| shape.iter().product::<usize>());
            (entries.len(), values.sum::<usize>() as f64 / 1e6)
        };
        // Millions of values, of which 0.6 are positions and noise schedules of diffusion models.
        for (name, length, millions) in [
            ("vae", 692, 641.0),
            ("vae-temporal", 1076, 843.0),
            ("diffusion", 305, 673.0),
            ("diffusion-class", 305, 679.0),
        ] {
            let (found, values) = count(name, false);
            assert_eq!(found, length, "{name}");
            assert!((values - millions).abs() < 1.0, "{name}: {values}");
            assert!(count(name, true).1 < 40.0, "{name}");
        }
    }

    #[test]
    fn values_are_small() {
        let f32s = draw(Floats::F32);
        for bytes in f32s.as_chunks().0 {
            let value = f32::from_le_bytes(*bytes).abs();
            assert!((2f32.powi(-9)..2f32.powi(-6)).contains(&value), "{value}");
        }
    }
}
