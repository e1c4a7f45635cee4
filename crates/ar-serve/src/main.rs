//! Serves AR-Diffusion models over HTTP; `ar-serve --help` says how.
#![allow(clippy::exit, reason = "a program")]

use std::env;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use ar_cli::Allocator;
use ar_pipeline::{ModelSource, Pipeline};
use ar_serve::{Server, ServerOptions, Stopper, Token};
use clap::Parser;
use mimalloc::MiMalloc;

/// Sampling frame by frame allocates some five hundred times in a quarter of a millisecond.
#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator(MiMalloc);

/// The environment variable that sets the token.
const TOKEN: &str = "AR_SERVE_TOKEN";

/// Serves an AR-Diffusion model over HTTP: an API, and a page that shows videos as they are denoised.
///
/// Prints the address of the page, which contains the token that clients need. The environment variable AR_SERVE_TOKEN
/// sets your own token. Ctrl-C stops the server.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Model directory, local or on the Hugging Face hub (hf://OWNER/NAME, in builds with the feature `hub`) [default:
    /// the built-in model]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Device to compute on: auto, or a name that `ar-sample devices` lists
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Address to listen on; 0.0.0.0 lets other machines in, which need the token too and send it unencrypted
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 chooses a free one
    #[arg(long, value_name = "N", default_value_t = 8750)]
    port: u16,
}

fn main() -> ExitCode {
    let cli: Cli = ar_cli::parse();
    ar_cli::run_program(|| ar_cli::exit_code(run(&cli), ar_cli::one_line))
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    // Until there is a server, an interrupt ends the process.
    let stopper: Arc<OnceLock<Stopper>> = Arc::default();
    let on_interrupt = Arc::clone(&stopper);
    ar_cli::on_interrupt(
        "ending the videos at work; press Ctrl-C again to stop at once",
        move || on_interrupt.get().into_iter().for_each(Stopper::stop),
    )?;
    let source = cli
        .model
        .as_ref()
        .map_or(ModelSource::BuiltIn, ModelSource::from);
    let token = match env::var(TOKEN) {
        Ok(token) => Some(Token::new(&token)?),
        Err(env::VarError::NotPresent) => None,
        Err(error) => return Err(error.into()),
    };
    let device = ar_device::open(&cli.device)?;
    let pipeline = Pipeline::from_source(&source, &device)?;
    if let Some(note) = source.note() {
        ar_cli::tell(note);
    }
    let server = Server::bind(
        &pipeline,
        &ServerOptions {
            host: cli.host,
            port: cli.port,
            token,
        },
    )?;
    let _ = stopper.set(server.stopper());
    ar_cli::work_begins();
    ar_cli::print(&format!("{}\n", server.url()))?;
    server.run()?;
    Ok(ar_cli::INTERRUPTED.into())
}
