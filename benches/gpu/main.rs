//! One program to check and measure a GPU: what the device is, whether it agrees with the CPU, how fast it is compared
//! with PyTorch, and how much memory it needs.
//!
//! ```text
//! cargo xtask gpu --device cuda                 # builds and runs it
//! ar-gpu --device cuda,vulkan --out results     # or carried to a machine without cargo
//! ```
//!
//! Every part runs in its own process and reports each result at once, so that a part that fails or takes too long does
//! not affect the others. `results.json` and `results.md` are rewritten after every result.
#![allow(clippy::print_stdout)]

mod memory;
mod networks;
mod parity;
mod record;
mod report;
mod speed;
mod steady;
mod tokenizer;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ar_device::find;
use ar_model::{ComputePrecision, Precision};
use clap::Parser;

use crate::networks::Network;
use crate::parity::Parity;
use crate::record::Record;
use crate::report::Report;
use crate::speed::Case;

/// Checks and measures AR-Diffusion on a GPU, and compares it with the CPU and with PyTorch.
#[derive(Parser)]
#[command(name = "ar-gpu", version)]
struct Options {
    /// Devices, as `ar-sample devices` lists them. The first one gets all measurements, the others only parity and the
    /// small network.
    #[arg(long, value_delimiter = ',', default_value = "auto")]
    device: Vec<String>,
    /// Folder to write.
    #[arg(long, default_value = "gpu")]
    out: PathBuf,
    /// Parts to run instead of all.
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Time limit for everything; parts that would start later are left out.
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// The script for PyTorch, benches/pytorch/gpu.py; without it there is no comparison.
    #[arg(long)]
    pytorch: Option<PathBuf>,
    /// How far results may be from the CPU's, relative to their size. GPUs may round products to 10 bits (TF32).
    #[arg(long, default_value_t = 2e-3)]
    tolerance: f64,
    /// Runs a part in this process.
    #[arg(long, hide = true)]
    inside: bool,
}

/// The parts that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// What the device is.
    Device,
    /// Whether it agrees with the CPU.
    Parity,
    /// The published network in 16 bits.
    PublishedBf16,
    /// The same in 32 bits.
    PublishedF32,
    /// The small network in 32 bits.
    SmallF32,
    /// The same in 16 bits.
    SmallBf16,
    /// A network in between, in 32 bits.
    LargerF32,
    /// The same in 16 bits.
    LargerBf16,
    /// The published tokenizer.
    Tokenizer,
    /// Memory over 2,000 steps.
    Steady,
    /// The same networks in PyTorch.
    Pytorch,
}

impl Part {
    /// In order of importance, because time may run out.
    const ALL: [Self; 11] = [
        Self::Device,
        Self::Parity,
        Self::SmallF32,
        Self::PublishedBf16,
        Self::Pytorch,
        Self::PublishedF32,
        Self::Tokenizer,
        Self::Steady,
        Self::SmallBf16,
        Self::LargerBf16,
        Self::LargerF32,
    ];

    /// The parts for a device that is not the first.
    const OTHERS: [Self; 3] = [Self::Device, Self::Parity, Self::SmallF32];

    fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.expect("no part is skipped").get_name().to_owned()
    }

    /// The longest that it may take.
    fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Pytorch => 200,
            _ => 150,
        })
    }

    fn case(self) -> Option<(Network, ComputePrecision)> {
        Some(match self {
            Self::SmallF32 => (Network::Small, ComputePrecision::F32),
            Self::SmallBf16 => (Network::Small, ComputePrecision::Bf16),
            Self::LargerF32 => (Network::Larger, ComputePrecision::F32),
            Self::LargerBf16 => (Network::Larger, ComputePrecision::Bf16),
            Self::PublishedF32 => (Network::Published, ComputePrecision::F32),
            Self::PublishedBf16 => (Network::Published, ComputePrecision::Bf16),
            _ => return None,
        })
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    ar_cli::run_program(|| {
        let result = if options.inside {
            inside(&options)
        } else {
            outside(&options)
        };
        ar_cli::exit_code(result, ar_cli::one_line)
    })
}

/// Runs every part in its own process.
fn outside(options: &Options) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&options.out)?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut report = Report::new(&options.out);
    for (index, device) in options.device.iter().enumerate() {
        let all: &[Part] = match (&options.parts[..], index) {
            ([], 0) => &Part::ALL,
            ([], _) => &Part::OTHERS,
            (parts, _) => parts,
        };
        for &part in all {
            let left = end.saturating_duration_since(Instant::now());
            let started = Instant::now();
            let name = format!("{device}, {}", part.name());
            println!("== {name}");
            if left.is_zero() {
                report.add(failure(&name, "left out: no time is left"))?;
                continue;
            }
            let Some(command) = command(options, device, part)? else {
                println!("left out: no --pytorch");
                continue;
            };
            run(command, &name, left.min(part.limit()), &mut report)?;
            println!("   {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    println!("written: {}", options.out.join("results.md").display());
    Ok(if report.is_bad() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn failure(part: &str, reason: impl Into<String>) -> Record {
    Record::Failure {
        part: part.to_owned(),
        reason: reason.into(),
    }
}

/// The process of a part.
fn command(options: &Options, device: &str, part: Part) -> anyhow::Result<Option<Command>> {
    if part == Part::Pytorch {
        let Some(script) = &options.pytorch else {
            return Ok(None);
        };
        let mut command = Command::new("python3");
        command.arg(script).arg(&options.out);
        return Ok(Some(command));
    }
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--inside", "--device", device, "--parts", &part.name()])
        .args(["--tolerance", &options.tolerance.to_string()])
        .arg("--out")
        .arg(&options.out);
    Ok(Some(command))
}

/// Runs a process and adds what it prints, line by line.
fn run(
    mut command: Command,
    name: &str,
    limit: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return report.add(failure(name, error.to_string())),
    };
    let end = Instant::now() + limit;
    let (send, receive) = mpsc::channel();
    let stdout = child.stdout.take().expect("a pipe");
    // It ends with the pipe, which may be held open by processes that a stopped one left behind.
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    loop {
        match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(record) => report.add(record)?,
                Err(_) => println!("   {line}"),
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                stop(&mut child);
                let reason = format!("stopped after {} s", limit.as_secs());
                report.add(failure(name, reason))?;
                break;
            }
        }
    }
    let status = child.wait()?;
    // A stopped part has already been reported.
    if !status.success() && Instant::now() < end {
        report.add(failure(name, format!("ended with {status}")))?;
    }
    Ok(())
}

fn stop(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
}

/// Runs a part in this process.
fn inside(options: &Options) -> anyhow::Result<ExitCode> {
    let (name, part) = (&options.device[0], options.parts[0]);
    let mut tell = |record: Record| {
        let line = serde_json::to_string(&record).expect("plain data");
        // If nobody reads it, the parent has ended.
        let _ = ar_cli::print(&format!("{line}\n"));
    };
    let found = find(name)?;
    let device = &found.device;
    let bf16 = ComputePrecision::Bf16.is_supported(device);
    device.seed(0);
    if let Some((network, precision)) = part.case() {
        if !precision.is_supported(device) {
            tell(failure(
                &part.name(),
                "the device does not compute in 16 bits",
            ));
            return Ok(ExitCode::SUCCESS);
        }
        if !options.out.join("models").join(network.name()).exists() {
            leave_model(network, &options.out, device)?;
        }
        let case = Case {
            network,
            precision,
            device,
            name: &found.name,
        };
        case.measure(&mut tell);
        return Ok(ExitCode::SUCCESS);
    }
    match part {
        Part::Device => {
            let details = found.details()?;
            tell(Record::Device {
                name: found.name.clone(),
                hardware: details.hardware.unwrap_or_default(),
                memory_bytes: details.memory_bytes,
                driver: details.driver,
                bf16,
            });
        }
        Part::Parity => {
            let cpu = find("cpu")?;
            let folder = tempfile::tempdir()?;
            let parity = Parity {
                name: &found.name,
                device,
                cpu: &cpu.device,
                tolerance: options.tolerance,
                folder: folder.path(),
            };
            parity.check(&mut tell);
        }
        Part::Tokenizer => tokenizer::measure(&found.name, device, bf16, &mut tell),
        Part::Steady => steady::measure(&found.name, device, &mut tell),
        _ => unreachable!("{part:?} is a case or another program"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a network for PyTorch, with an input and its output.
fn leave_model(network: Network, out: &Path, device: &burn::tensor::Device) -> anyhow::Result<()> {
    let folder = out.join("models").join(network.name());
    let model = network.init(device);
    model.save(&folder, Precision::Full)?;
    speed::leave_forward(&model, &folder, device)
}
