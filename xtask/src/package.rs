//! `cargo xtask package`: packages the crates and builds the contents of the packages, outside the repository.
//!
//! `cargo package` itself verifies a package by building all of its dependencies again, Burn included. Here, the
//! unpacked packages form a workspace that shares the repository's target folder, where crates from the registry are
//! already built.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::commands::succeed;
use crate::workspace::{Package, Workspace, cargo, text};

#[derive(Args)]
pub(crate) struct Options {
    /// Runs the tests of the packages instead of only checking them
    #[arg(long)]
    test: bool,
    /// Also packages changes that are not committed
    #[arg(long)]
    allow_dirty: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let scratch = workspace.target.join("packages");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    }
    let mut package = cargo();
    package.current_dir(&workspace.root);
    package.args([
        "package",
        "--workspace",
        "--no-verify",
        "--quiet",
        "--target-dir",
    ]);
    package.arg(&scratch);
    for private in workspace
        .packages
        .iter()
        .filter(|package| !package.is_public())
    {
        package.args(["--exclude", &private.name]);
    }
    if options.allow_dirty {
        package.arg("--allow-dirty");
    }
    succeed(&mut package)?;

    let public: Vec<&Package> = workspace
        .packages
        .iter()
        .filter(|package| package.is_public())
        .collect();
    let folder = scratch.join("package");
    for package in &public {
        let archive = format!("{}.crate", folder_name(package));
        let mut unpack = Command::new("tar");
        // As new files: in archives, all files are dated the same day in 2006, and cargo would consider its build of an
        // older package up to date.
        succeed(unpack.current_dir(&folder).args(["-xzmf", &archive]))?;
        println!("{archive}");
    }
    write(&folder.join("Cargo.toml"), &manifest(workspace, &public)?)?;
    write(&folder.join("empty.rs"), "")?;
    let lock = workspace.root.join("Cargo.lock");
    fs::copy(&lock, folder.join("Cargo.lock")).with_context(|| lock.display().to_string())?;

    let mut build = cargo();
    build.current_dir(&folder);
    build.arg(if options.test { "test" } else { "check" });
    build.args(["--workspace", "--all-targets", "--target-dir"]);
    succeed(build.arg(&workspace.target))?;
    println!("package: {} packages", public.len());
    Ok(ExitCode::SUCCESS)
}

/// The folder in a package, and the stem of its file.
fn folder_name(package: &Package) -> String {
    format!("{}-{}", package.name, text(&package.metadata["version"]))
}

/// The manifest of a workspace of unpacked packages, which find each other in their folders and are built with the
/// profiles of the repository. Its own package has the dependencies of benches and chores, because with other features
/// of these, Burn would be built again.
fn manifest(workspace: &Workspace, packages: &[&Package]) -> Result<String> {
    let path = workspace.root.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let profiles = text.find("[profile.").map_or("", |at| &text[at..]);
    ensure!(!profiles.is_empty(), "{} has no profiles", path.display());
    let members: Vec<String> = packages
        .iter()
        .map(|it| format!("{:?}", folder_name(it)))
        .collect();
    let patches: String = packages
        .iter()
        .map(|it| format!("{} = {{ path = {:?} }}\n", it.name, folder_name(it)))
        .collect();
    let private = workspace.packages.iter().filter(|it| !it.is_public());
    let registry = private
        .flat_map(|it| &it.dependencies)
        .filter(|it| !it.is_path);
    let dependencies: BTreeMap<&str, String> = registry
        .map(|it| (it.name.as_str(), it.to_string()))
        .collect();
    let dependencies: String = dependencies
        .iter()
        .map(|(name, requirement)| format!("{name} = {requirement}\n"))
        .collect();
    Ok(format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[package]\nname = \"packages\"\n\
         edition = \"2024\"\n\n[lib]\npath = \"empty.rs\"\n\n[dependencies]\n{dependencies}\n\
         [patch.crates-io]\n{patches}\n{profiles}",
        members.join(", ")
    ))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}
