//! Examples in pages of Markdown.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::links::resolve;

/// Every page with an example in Rust is tested: some source includes it with `#[doc = include_str!(..)]`.
pub(crate) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let read = |file: &PathBuf| {
        fs::read_to_string(root.join(file)).with_context(|| file.display().to_string())
    };
    let with_extension = |extension: &'static str| {
        let has = move |file: &&PathBuf| file.extension().is_some_and(|it| it == extension);
        files.iter().filter(has)
    };
    let mut tested = Vec::new();
    for file in with_extension("rs") {
        let folder = file.parent().unwrap_or(Path::new(""));
        let source = read(file)?;
        tested.extend(included(&source).filter_map(|page| resolve(folder, page)));
    }
    let mut findings = Vec::new();
    for file in with_extension("md") {
        let example = read(file)?.lines().position(is_example);
        if let Some(line) = example.filter(|_| !tested.contains(file)) {
            findings.push(format!(
                "{}:{}: the example is not tested; `#[cfg(doctest)] #[doc = include_str!(..)]` it",
                file.display(),
                line + 1
            ));
        }
    }
    Ok(findings)
}

/// The pages that a source includes as documentation.
fn included(source: &str) -> impl Iterator<Item = &str> {
    let start = "doc = include_str!(\"";
    let places = source.match_indices(start);
    places.filter_map(move |(at, _)| source[at + start.len()..].split('"').next())
}

/// Whether a listing in Rust starts; a few words may say how it is tested.
fn is_example(line: &str) -> bool {
    let words = line.trim_start().strip_prefix("```").unwrap_or_default();
    let first = words.split([',', ' ']).next();
    matches!(
        first,
        Some("rust" | "no_run" | "should_panic" | "compile_fail" | "ignore")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_in_rust_are_examples() {
        assert!(is_example("```rust,no_run"));
        assert!(is_example("  ```no_run"));
        assert!(!is_example("```sh") && !is_example("```") && !is_example("rust"));
    }

    #[test]
    fn pages_are_found_in_sources() {
        let source =
            "#[doc = include_str!(\"../README.md\")]\nconst A: &str = include_str!(\"b.md\");";
        assert_eq!(included(source).collect::<Vec<_>>(), ["../README.md"]);
    }
}
