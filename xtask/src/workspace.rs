//! The repository, as reported by cargo and git.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The packages of the repository and their locations.
pub(crate) struct Workspace {
    /// Root of the repository.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// All packages.
    pub packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Debug, Default)]
pub(crate) struct Package {
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its entry in `cargo metadata`.
    pub metadata: Value,
    /// Root file of the library, if the package has one.
    pub lib_root: Option<PathBuf>,
    /// Root files of all targets.
    pub roots: Vec<PathBuf>,
    pub dependencies: Vec<Dependency>,
}

impl Package {
    /// Whether it may be published.
    pub(crate) fn is_public(&self) -> bool {
        self.metadata["publish"].is_null()
    }
}

/// A dependency of a package.
#[derive(Debug, Default)]
pub(crate) struct Dependency {
    pub name: String,
    /// The accepted versions.
    pub requirement: String,
    pub features: Vec<String>,
    pub default_features: bool,
    /// Whether it is a folder of the repository.
    pub is_path: bool,
    /// Whether only tests, examples and benches need it.
    pub dev: bool,
}

/// As in a manifest.
impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{{ version = {:?}, default-features = {}, features = {:?} }}",
            self.requirement, self.default_features, self.features
        )
    }
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let arguments = [
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--manifest-path",
        ];
        let json = output(cargo().args(arguments).arg(manifest))?;
        let metadata: Value = serde_json::from_str(&json).context("cargo metadata")?;
        Ok(Self {
            root: text(&metadata["workspace_root"]).into(),
            target: text(&metadata["target_directory"]).into(),
            packages: list(&metadata["packages"]).map(package).collect(),
        })
    }

    /// The package called `name`.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The files of the repository, by their paths below the root: those that git tracks, or would
    /// track after adding everything.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let arguments = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        let listing = output(self.git().args(arguments))?;
        let paths = listing.split_terminator('\0').map(PathBuf::from);
        // Git still lists files that have just been deleted.
        Ok(paths
            .filter(|path| self.root.join(path).is_file())
            .collect())
    }

    /// The commit that is checked out, marked where files differ from it.
    pub(crate) fn commit(&self) -> Result<String> {
        let arguments = ["describe", "--always", "--dirty", "--exclude=*"];
        Ok(output(self.git().args(arguments))?.trim().to_owned())
    }

    fn git(&self) -> Command {
        let mut git = Command::new("git");
        git.current_dir(&self.root);
        git
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `path` relative to `root`, for messages.
pub(crate) fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn package(value: &Value) -> Package {
    let is_library = |target: &&Value| list(&target["kind"]).any(|kind| kind == "lib");
    let root = |target: &Value| PathBuf::from(text(&target["src_path"]));
    let manifest = Path::new(text(&value["manifest_path"]));
    Package {
        name: text(&value["name"]).to_owned(),
        folder: manifest.with_file_name(""),
        metadata: value.clone(),
        lib_root: list(&value["targets"]).find(is_library).map(root),
        roots: list(&value["targets"]).map(root).collect(),
        dependencies: list(&value["dependencies"]).map(dependency).collect(),
    }
}

fn dependency(value: &Value) -> Dependency {
    Dependency {
        name: text(&value["name"]).to_owned(),
        requirement: text(&value["req"]).to_owned(),
        default_features: value["uses_default_features"] == true,
        is_path: value["path"].is_string(),
        features: list(&value["features"])
            .map(|feature| text(feature).to_owned())
            .collect(),
        dev: value["kind"] == "dev",
    }
}

/// The elements of an array.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A string; empty if there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The standard output of a command that has to succeed.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().context(program.clone())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", errors.trim());
    String::from_utf8(output.stdout).with_context(|| format!("{program}: the output"))
}
