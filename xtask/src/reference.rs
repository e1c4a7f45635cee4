//! `cargo xtask reference`: writes the reference pages of the book from the help of the commands,
//! so that the pages cannot go stale.

mod commands;
mod configuration;
mod help;
#[cfg(test)]
mod tests;
mod timesteps;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::commands::{COMMANDS, succeed};
use crate::workspace::{Workspace, cargo};
use commands::{Commands, notice};

/// The folder of the pages.
const PAGES: &str = "docs/reference";
/// The folder of the pictures of plans and timesteps.
const IMAGES: &str = "docs/images";
/// Step differences of the plans that are drawn, each for 8 frames of 12 steps: all frames
/// together, in between, and one after another.
const AR_STEPS: [usize; 3] = [0, 3, 12];

#[derive(Args)]
pub(crate) struct Options {
    /// Only compare: exit code 1 if a page differs from what the commands say
    #[arg(long)]
    check: bool,
    /// Folder of built commands [default: build them, in the dev profile]
    #[arg(long, value_name = "DIR")]
    commands: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let folder = match &options.commands {
        Some(folder) => folder.clone(),
        None => {
            // All binaries together, as in CI: for a single package, cargo may choose other
            // features and build Burn again.
            let mut build = cargo();
            build.current_dir(&workspace.root);
            succeed(build.args(["build", "--workspace", "--bins"]))?;
            workspace.target.join("debug")
        }
    };
    let scratch = workspace.target.join("reference");
    fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    let commands = Commands { folder, scratch };

    let mut stale = Vec::new();
    for (path, text) in files(&commands)? {
        let full = workspace.root.join(&path);
        // Git may have checked the page out with the line ends of the system.
        let present = fs::read_to_string(&full).map(|text| text.replace("\r\n", "\n"));
        if present.is_ok_and(|present| present == text) {
            continue;
        }
        if !options.check {
            let folder = full.parent().unwrap_or(&workspace.root);
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            fs::write(&full, text).with_context(|| path.display().to_string())?;
        }
        stale.push(path);
    }
    for path in &stale {
        let what = if options.check {
            "is stale: run `cargo xtask reference`"
        } else {
            "is written"
        };
        println!("{} {what}", path.display());
    }
    if stale.is_empty() {
        println!("reference: all pages say what the commands say");
    }
    Ok(ExitCode::from(u8::from(options.check && !stale.is_empty())))
}

/// Every generated file: its path below the root of the repository, and its text.
fn files(commands: &Commands) -> Result<Vec<(PathBuf, String)>> {
    let pages = Path::new(PAGES);
    let mut files = Vec::new();
    for name in COMMANDS {
        let page = pages.join(name).with_extension("md");
        files.push((page, command_page(commands, name)?));
    }
    let configuration = configuration::page(commands)?;
    files.push((pages.join("configuration.md"), configuration));
    let images = Path::new(IMAGES);
    files.push((images.join("timesteps.svg"), timesteps::picture()));
    for ar_step in AR_STEPS {
        let name = format!("plan-s{ar_step}.svg");
        let picture = commands.scratch(&name)?;
        let ar_step = ar_step.to_string();
        let plan = ["plan", "--frames", "8", "--steps", "12", "--ar-step"];
        let target = picture.to_string_lossy();
        commands.say(
            "ar-sample",
            &[&plan[..], &[&ar_step, "--picture", &target]].concat(),
        )?;
        let svg = fs::read_to_string(&picture).with_context(|| picture.display().to_string())?;
        files.push((images.join(name), svg));
    }
    Ok(files)
}

/// The page of a command: its help, then the help of every subcommand.
fn command_page(commands: &Commands, name: &str) -> Result<String> {
    let main = help::Help::parse(&commands.say(name, &["--help"])?);
    let mut text = format!(
        "{}# {name}\n\n{}",
        notice(&format!("{name} --help")),
        main.markdown()
    );
    for subcommand in main.subcommands() {
        let help = help::Help::parse(&commands.say(name, &[subcommand, "--help"])?);
        let options = if help.repeats(&main) {
            format!("Its options are the options of `{name}` itself, above.\n")
        } else {
            help.markdown()
        };
        text += &format!("\n## {name} {subcommand}\n\n{options}");
    }
    Ok(text)
}
