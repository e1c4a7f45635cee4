//! Names that the sources of libraries must not use. Checks that a lint can do are left to lints:
//! `[lints]` of the workspace and `clippy.toml`.

use anyhow::Result;

use crate::rust::{Contents, Tree};
use crate::workspace::{Workspace, shown};

/// Paths that are banned from some libraries.
struct Ban {
    paths: &'static [&'static str],
    why: &'static str,
    /// Libraries that it applies to; empty means all.
    only: &'static [&'static str],
    /// Libraries that it does not apply to.
    except: &'static [&'static str],
}

const BANS: &[Ban] = &[
    Ban {
        paths: &[
            "clap",
            "std::env::args",
            "std::env::args_os",
            "env::args",
            "env::args_os",
        ],
        why: "only the binaries read the command line",
        only: &[],
        except: &["ar-cli"],
    },
    Ban {
        paths: &["std::fs", "std::net", "std::thread", "std::time"],
        why: "it runs where there are no files, threads and clocks",
        only: PORTABLE,
        except: &[],
    },
    Ban {
        paths: &["std::env"],
        why: "it knows nothing of its surroundings",
        only: PORTABLE,
        // An environment variable chooses the vector instructions of kernels.
        except: &["ar-kernels"],
    },
];

/// Libraries that run anywhere, in browsers too.
const PORTABLE: &[&str] = &[
    "ar-activation-checkpointing",
    "ar-autodiff",
    "ar-diffusion",
    "ar-dit",
    "ar-kernels",
    "ar-noise",
    "ar-ops",
    "ar-schedulers",
    "ar-vae",
];

impl Ban {
    fn is_for(&self, library: &str) -> bool {
        (self.only.is_empty() || self.only.contains(&library)) && !self.except.contains(&library)
    }

    /// The banned path that `path` is or starts with.
    fn finds(&self, path: &[String]) -> Option<&'static str> {
        let path = format!("{}::", path.join("::"));
        let begins = |banned: &&&str| path.starts_with(&format!("{banned}::"));
        self.paths.iter().find(begins).copied()
    }
}

/// No library uses paths that are banned from it; its tests may.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let Some(lib_root) = &package.lib_root else {
            continue;
        };
        let bans: Vec<&Ban> = BANS
            .iter()
            .filter(|ban| ban.is_for(&package.name))
            .collect();
        let tree = Tree::read(lib_root)?;
        for module in &tree.modules {
            let file = shown(&tree.files[module.file], &workspace.root);
            for (line, path, why) in banned(&module.contents, &bans) {
                findings.push(format!("{file}:{line}: {path}: {why}"));
            }
        }
    }
    Ok(findings)
}

/// The banned paths of a module, with their lines.
fn banned(contents: &Contents, bans: &[&Ban]) -> Vec<(usize, &'static str, &'static str)> {
    let imports = contents.imports.iter().map(|it| (&it.path, it.line));
    let paths = contents.paths.iter().map(|(path, line)| (path, *line));
    let mut found = Vec::new();
    for (path, line) in imports.chain(paths) {
        for ban in bans {
            found.extend(ban.finds(path).map(|path| (line, path, ban.why)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_imports_and_code() {
        let text = "use std::{fs::File, fmt};\nfn f() { std::thread::sleep() }\nuse clap;\n\
                    fn g() { my::std::fs::read(); clapped::x() }";
        let bans: Vec<&Ban> = BANS.iter().collect();
        let contents = Contents::parse(text);
        let found: Vec<_> = banned(&contents, &bans)
            .into_iter()
            .map(|(line, path, _)| (line, path))
            .collect();
        assert_eq!(found, [(1, "std::fs"), (3, "clap"), (2, "std::thread")]);
    }
}
