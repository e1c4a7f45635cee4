//! Requirements for publishing a crate.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::{Package, Workspace, list, shown, text};

/// The licence files, which are in the folder of every crate too, because a package contains only
/// its folder.
const LICENCES: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT"];

/// The line of a manifest that applies the workspace's lints to the crate.
const LINTS: &str = "[lints]\nworkspace = true";

/// What each crate lacks; `files` are the files of the repository.
pub(crate) fn check(workspace: &Workspace, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        findings.extend(manifest(package)?);
        if package.is_public() {
            findings.extend(public_manifest(package));
            findings.extend(licences(workspace, package)?);
            findings.extend(outside(workspace, package, files)?);
        }
    }
    Ok(findings)
}

/// Requirements for every manifest.
fn manifest(package: &Package) -> Result<Vec<String>> {
    let path = package.folder.join("Cargo.toml");
    let manifest = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut findings = Vec::new();
    if text(&package.metadata["description"]).trim().is_empty() {
        findings.push(format!(
            "{}: has no description in its Cargo.toml",
            package.name
        ));
    }
    if !manifest.replace("\r\n", "\n").contains(LINTS) {
        findings.push(format!(
            "{}: has no `[lints] workspace = true`",
            package.name
        ));
    }
    Ok(findings)
}

/// Requirements for the manifest of a crate that others can depend on.
fn public_manifest(package: &Package) -> Vec<String> {
    let metadata = &package.metadata;
    let keywords = list(&metadata["keywords"]).count();
    let rules = [
        (!text(&metadata["license"]).is_empty(), "has no license"),
        (
            !text(&metadata["repository"]).is_empty(),
            "has no repository; write `repository.workspace = true`",
        ),
        (
            text(&metadata["readme"]) == "README.md" && package.folder.join("README.md").is_file(),
            "has no README.md in its folder",
        ),
        (
            (1..=5).contains(&keywords),
            "has no keywords, or more than 5",
        ),
        (
            list(&metadata["categories"]).count() > 0,
            "has no categories",
        ),
        (
            metadata["metadata"]["docs"]["rs"].is_object(),
            "has no [package.metadata.docs.rs]",
        ),
    ];
    let broken = rules.into_iter().filter(|(holds, _)| !holds);
    let mut findings: Vec<String> = broken
        .map(|(_, what)| format!("{}: {what}", package.name))
        .collect();
    let unversioned = package
        .dependencies
        .iter()
        .filter(|other| other.requirement == "*");
    findings.extend(unversioned.map(|other| {
        format!(
            "{}: depends on {} in any version; give the path a version in [workspace.dependencies]",
            package.name, other.name
        )
    }));
    findings
}

/// Every crate has the licences of the repository.
fn licences(workspace: &Workspace, package: &Package) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for name in LICENCES {
        let path = workspace.root.join(name);
        let licence = fs::read(&path).with_context(|| path.display().to_string())?;
        if fs::read(package.folder.join(name)).ok() != Some(licence) {
            findings.push(format!(
                "{}: its {name} is not the repository's; `cargo xtask tidy --fix` copies it",
                package.name
            ));
        }
    }
    Ok(findings)
}

/// Copies the licences into the folder of every crate that can be published.
pub(crate) fn fix(workspace: &Workspace) -> Result<()> {
    for package in workspace
        .packages
        .iter()
        .filter(|package| package.is_public())
    {
        for name in LICENCES {
            let (from, to) = (workspace.root.join(name), package.folder.join(name));
            fs::copy(from, &to).with_context(|| to.display().to_string())?;
        }
    }
    Ok(())
}

/// No source of a crate reads a file outside the crate's folder, because a package does not include
/// it.
fn outside(workspace: &Workspace, package: &Package, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files {
        let path = workspace.root.join(file);
        let Ok(inner) = path.strip_prefix(&package.folder) else {
            continue;
        };
        if inner.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (line, target) in outside_of(inner, &source) {
            findings.push(format!(
                "{}:{line}: {target} is outside of the crate's folder, and so not in its package",
                shown(&path, &workspace.root)
            ));
        }
    }
    Ok(findings)
}

/// The strings in the source `file`, a path below the crate's folder, that lead out of the folder.
/// What a macro includes is relative to the file, anything else to the folder.
fn outside_of<'a>(file: &Path, source: &'a str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (index, line) in source.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let root = Path::new("");
        let folder = if line.contains("include_") {
            file.parent().unwrap_or(root)
        } else {
            root
        };
        for (at, _) in line.match_indices("\"../") {
            let target = line[at + 1..].split('"').next().unwrap_or_default();
            if leads_out(folder, Path::new(target)) {
                found.push((index + 1, target));
            }
        }
    }
    found
}

fn leads_out(folder: &Path, target: &Path) -> bool {
    let mut depth = folder.components().count();
    for part in target.components() {
        match part {
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_package_holds_its_folder_only() {
        let source = "const A: &str = include_str!(\"../model/a.toml\");\n\
                      const B: &str = include_str!(\"../../b.toml\");\n\
                      // include_str!(\"../../c.toml\")\n\
                      let d = root.join(\"../d\");\n";
        let found = outside_of(Path::new("src/model.rs"), source);
        assert_eq!(found, [(2, "../../b.toml"), (4, "../d")]);
    }

    #[test]
    fn what_a_manifest_lacks_is_told() {
        let package = Package {
            name: "ar-new".into(),
            metadata: json!({
                "license": "MIT", "repository": "https://example.com", "keywords": [],
                "categories": ["science"], "metadata": {"docs": {"rs": {}}}
            }),
            ..Package::default()
        };
        assert_eq!(
            public_manifest(&package),
            [
                "ar-new: has no README.md in its folder",
                "ar-new: has no keywords, or more than 5"
            ]
        );
    }
}
