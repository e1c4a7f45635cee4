//! What the sources of libraries must not contain.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, shown};

/// Words that are out of place in some libraries.
struct Ban {
    words: &'static [&'static str],
    why: &'static str,
    /// Libraries that it is for; empty is all.
    only: &'static [&'static str],
    /// Libraries that it is not for.
    except: &'static [&'static str],
}

const BANS: &[Ban] = &[
    Ban {
        words: &[" println!", " print!", " dbg!"],
        why: "standard output belongs to the binaries",
        only: &[],
        except: &[],
    },
    Ban {
        words: &[" eprintln!", " eprint!"],
        why: "libraries report through their results",
        only: &[],
        // Its library is the inside of one command, as a library for tests and benches only; hours
        // of training without a sign of life would serve nobody.
        except: &["ar-train"],
    },
    Ban {
        words: &["process::exit", "process::abort"],
        why: "only the binaries end the process",
        only: &[],
        except: &[],
    },
    Ban {
        words: &["env::args", "clap::"],
        why: "only the binaries read the command line",
        only: &[],
        except: &[],
    },
    Ban {
        words: &[
            "std::fs",
            "std::net",
            "std::thread",
            "std::time",
            "std::env",
        ],
        why: "it runs where there are no files, threads and clocks",
        only: &[
            "ar-activation-checkpointing",
            "ar-noise",
            "ar-schedulers",
            "ar-ops",
            "ar-vae",
            "ar-dit",
            "ar-diffusion",
        ],
        except: &[],
    },
];

/// No library contains what is banned from it; tests and examples in comments may.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let Some(lib_root) = &package.lib_root else {
            continue;
        };
        let bans: Vec<&Ban> = BANS
            .iter()
            .filter(|ban| ban.only.is_empty() || ban.only.contains(&package.name.as_str()))
            .filter(|ban| !ban.except.contains(&package.name.as_str()))
            .collect();
        for file in modules(lib_root)? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            for (line, word, why) in banned(&text, &bans) {
                let file = shown(&file, &workspace.root);
                findings.push(format!("{file}:{line}: {}: {why}", word.trim()));
            }
        }
    }
    Ok(findings)
}

/// The banned words of a source file, with their line.
fn banned<'a>(text: &str, bans: &[&'a Ban]) -> Vec<(usize, &'a str, &'a str)> {
    let mut found = Vec::new();
    for (number, line) in code(text) {
        // A macro's name starts a word: `println!` is no part of `eprintln!`.
        let line = format!(" {}", line.replace(|c: char| "({;=>".contains(c), " "));
        for ban in bans {
            for word in ban.words.iter().filter(|word| line.contains(**word)) {
                found.push((number, *word, ban.why));
            }
        }
    }
    found
}

/// The numbered lines of a source file that are code and not of its tests, which come last.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = text.lines().enumerate().peekable();
    std::iter::from_fn(move || {
        let (index, line) = lines.next()?;
        let next = lines.peek().map_or("", |(_, next)| next);
        let tests = line.starts_with("#[cfg") && line.contains("test") && next.ends_with('{');
        (!tests).then_some((index + 1, line))
    })
    .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The files of a library, tests left out: its root and, from there, every `mod name;`.
fn modules(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![root.to_owned()];
    let mut next = 0;
    while let Some(file) = files.get(next).cloned() {
        next += 1;
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let stem = file.file_stem().unwrap_or_default();
        let folder = match stem.to_str() {
            Some("lib" | "mod") => file.with_file_name(""),
            _ => file.with_file_name(stem),
        };
        for name in module_names(&text) {
            let flat = folder.join(format!("{name}.rs"));
            let nested = folder.join(name).join("mod.rs");
            files.push(if flat.is_file() { flat } else { nested });
        }
    }
    Ok(files)
}

/// The modules that a source file declares in files of their own, except for tests.
fn module_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        let declaration = ["mod ", "pub mod ", "pub(crate) mod "]
            .iter()
            .find_map(|start| line.strip_prefix(start)?.strip_suffix(';'));
        names.extend(declaration.filter(|_| !is_test));
        is_test = line.starts_with("#[cfg") && line.contains("test");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_code_alone() {
        let text = "/// println!(\"an example\")\n\
                    fn f() {\n    if x {eprintln!(\"no\")}\n    std::process::exit(1)\n}\n\
                    fn exit_code() { sprintln!() }\n\
                    #[cfg(test)]\nmod tests {\n    fn g() { println!(); }\n}\n";
        let bans: Vec<&Ban> = BANS.iter().collect();
        let found: Vec<_> = banned(text, &bans)
            .into_iter()
            .map(|(line, word, _)| (line, word.trim()))
            .collect();
        assert_eq!(found, [(3, "eprintln!"), (4, "process::exit")]);
    }

    #[test]
    fn test_modules_are_left_out() {
        let text = "mod a;\npub mod b;\n#[cfg(test)]\nmod tests;\nmod c {\n}\n";
        assert_eq!(module_names(text), ["a", "b"]);
    }
}
