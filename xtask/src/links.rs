//! Checks links in the files of the repository.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// Every relative link of a page in Markdown leads to a file of the repository.
pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files {
        if file.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("{file:?}"))?;
        for (line, target) in targets(&text) {
            let path = target.split(['#', '?']).next().unwrap_or_default();
            let leads_nowhere = match resolve(folder, path) {
                // A folder exists if a file is in it.
                Some(path) => !files.iter().any(|file| file.starts_with(&path)),
                None => true,
            };
            if leads_nowhere {
                findings.push(format!(
                    "{}:{line}: {target} is no file of the repository",
                    file.display()
                ));
            }
        }
    }
    Ok(findings)
}

/// The relative links of a Markdown text, with their lines.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_listing = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_listing = !is_listing;
        }
        if is_listing {
            continue;
        }
        for (opening, closing) in [
            ("](", &[')', ' '][..]),
            ("src=\"", &['"']),
            ("href=\"", &['"']),
        ] {
            for (_, rest) in line
                .match_indices(opening)
                .map(|(at, _)| line.split_at(at + opening.len()))
            {
                found.push((index + 1, rest.split(closing).next().unwrap_or_default()));
            }
        }
        // [name]: target
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            found.push((index + 1, target.trim()));
        }
    }
    let is_relative = |target: &str| !target.contains(':') && !target.starts_with('#');
    found.retain(|(_, target)| is_relative(target));
    found
}

/// The path below the root that `link` names from `folder`; none outside.
pub(crate) fn resolve(folder: &Path, link: &str) -> Option<PathBuf> {
    let mut path = folder.to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// No file names a path of the machine that it was written on.
pub(crate) fn machine_paths(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in files {
        let bytes = fs::read(root.join(file)).with_context(|| format!("{file:?}"))?;
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            if let Some(path) = machine_path(line) {
                findings.push(format!(
                    "{}:{}: {path} is a path of somebody's machine",
                    file.display(),
                    index + 1
                ));
            }
        }
    }
    Ok(findings)
}

/// The start of an absolute path below a folder where people keep their work.
fn machine_path(line: &str) -> Option<String> {
    ["work", "home", "root", "Users"]
        .map(|folder| format!("/{folder}/"))
        .into_iter()
        .find(|path| {
            line.match_indices(path.as_str()).any(|(at, _)| {
                // Not the middle of a longer path or of an address.
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "_-.~/}*".contains(c))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found() {
        let text = "[a](docs/a.md#part) ![b](b.png \"title\") [web](https://example.com)\n\
                    ```\n[no](listing.md)\n```\n<img src=\"c.gif\"> [here](#there)\n\
                    [name]: d.md\n";
        let expected = [
            (1, "docs/a.md#part"),
            (1, "b.png"),
            (5, "c.gif"),
            (6, "d.md"),
        ];
        assert_eq!(targets(text), expected);
    }

    #[test]
    fn links_stay_inside() {
        let from_docs = |link| resolve(Path::new("docs"), link);
        assert_eq!(from_docs("../README.md"), Some("README.md".into()));
        assert_eq!(from_docs("./a.md"), Some("docs/a.md".into()));
        assert_eq!(from_docs("../../elsewhere.md"), None);
    }

    #[test]
    fn paths_of_machines_are_told_from_addresses() {
        let home = ["", "home", "ann", "videos"].join("/");
        assert!(machine_path(&format!("reads {home}")).is_some());
        assert!(machine_path(&format!("https://example.com{home}")).is_none());
        assert!(machine_path(&format!("$prefix/lib{home}")).is_none());
    }
}
