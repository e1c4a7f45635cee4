//! Which modules of a crate name each other.
//!
//! A module is a source file; inline modules belong to the file around them. A module uses another if its code, except
//! tests, names something that the other one *defines*: through a `use`, a path or a glob, with any number of
//! re-exports between. A `mod` declaration is not a use, and a re-export is one only if the code of the same module
//! names the item too. So a parent may declare its children and re-export what they define, and a child may use its
//! parent; it is a cycle if the parent's own code also calls into that child. Then one of them contains something that
//! belongs in a third module.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::rust::{Import, Module, Tree};
use crate::workspace::{Workspace, shown};

/// One line for each cycle of modules.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        for root in &package.roots {
            let graph = Graph::read(root).with_context(|| package.name.clone())?;
            for circle in graph.circles() {
                let uses = circle.iter().map(|found| {
                    let file = shown(&found.file, &workspace.root);
                    format!("{file}:{} names {}", found.line, found.path)
                });
                findings.push(format!(
                    "{}: modules use each other: {}",
                    package.name,
                    uses.collect::<Vec<_>>().join("; ")
                ));
            }
        }
    }
    Ok(findings)
}

/// The modules of a target and what they use.
struct Graph {
    files: Vec<PathBuf>,
    modules: Vec<Module>,
    /// By file, the files whose items it names, each with the first place.
    uses: Vec<BTreeMap<usize, Use>>,
}

/// Where a file names an item of another.
#[derive(Clone)]
struct Use {
    line: usize,
    path: String,
}

/// A use, by the two files.
type Step = (usize, usize);

/// A use in a cycle.
struct Found {
    file: PathBuf,
    line: usize,
    path: String,
}

/// Names that are being looked up, by their modules, since imports may import each other's names.
type Seen = HashSet<(usize, String)>;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Module(usize),
    /// An item, by the module that defines it.
    Item(usize),
    /// Something of another crate.
    Outside,
}

impl Graph {
    /// Reads the target whose root file is `root`.
    fn read(root: &Path) -> Result<Self> {
        let Tree { files, modules } = Tree::read(root)?;
        let uses = vec![BTreeMap::new(); files.len()];
        let mut graph = Self {
            files,
            modules,
            uses,
        };
        for module in 0..graph.modules.len() {
            graph.find_uses(module);
        }
        Ok(graph)
    }

    /// Records what the code of `module` names.
    fn find_uses(&mut self, module: usize) {
        let contents = &self.modules[module].contents;
        let words: HashSet<&str> = contents
            .words
            .iter()
            .map(|(word, _)| word.as_str())
            .collect();
        let mut found = Vec::new();
        for import in &contents.imports {
            let is_named = import
                .name
                .as_deref()
                .is_some_and(|name| words.contains(name));
            if import.is_glob {
                found.extend(self.uses_of_glob(module, import));
            } else if !import.is_public || is_named {
                found.push((import.path.clone(), import.line));
            }
        }
        found.extend(contents.paths.iter().cloned());
        for (path, line) in found {
            let Target::Item(definer) = self.resolve(module, &path, &mut Seen::new()) else {
                continue;
            };
            let (from, to) = (self.modules[module].file, self.modules[definer].file);
            if from != to {
                let path = path.join("::");
                self.uses[from].entry(to).or_insert(Use { line, path });
            }
        }
    }

    /// The paths behind the words that a glob brings into scope.
    fn uses_of_glob(&self, module: usize, import: &Import) -> Vec<(Vec<String>, usize)> {
        let of = match self.resolve(module, &import.path, &mut Seen::new()) {
            Target::Module(of) => of,
            // The variants of an enum.
            Target::Item(_) => return vec![(import.path.clone(), import.line)],
            Target::Outside => return Vec::new(),
        };
        let mut found = Vec::new();
        for (word, line) in &self.modules[module].contents.words {
            // The module's own names take precedence over a glob.
            let is_own = self.own(module, word, &mut Seen::new()).is_some();
            if !is_own && self.lookup(of, word, true, &mut Seen::new()).is_some() {
                let mut path = import.path.clone();
                path.push(word.clone());
                found.push((path, *line));
            }
        }
        found
    }

    /// What `path` leads to from `module`.
    fn resolve(&self, module: usize, path: &[String], seen: &mut Seen) -> Target {
        let mut at = module;
        let mut next = 0;
        while let Some(word) = path.get(next) {
            match word.as_str() {
                "crate" => at = 0,
                "self" => {}
                "super" => at = self.modules[at].parent,
                _ => break,
            }
            next += 1;
        }
        for (index, name) in path.iter().enumerate().skip(next) {
            let is_last = index + 1 == path.len();
            match self.lookup(at, name, is_last, seen) {
                Some(Target::Module(module)) => at = module,
                Some(target) => return target,
                // The name of a crate.
                None if index == 0 => return Target::Outside,
                // Defined by a macro.
                None => return Target::Item(at),
            }
        }
        Target::Module(at)
    }

    /// What `name` is in `module`.
    fn lookup(&self, module: usize, name: &str, is_last: bool, seen: &mut Seen) -> Option<Target> {
        let child = self.modules[module].children.get(name);
        let child = child.map(|id| Target::Module(*id));
        if !is_last && child.is_some() {
            return child;
        }
        if !seen.insert((module, name.to_owned())) {
            return child;
        }
        let found = self.own(module, name, seen).or(child).or_else(|| {
            let imports = &self.modules[module].contents.imports;
            let mut globs = imports.iter().filter(|import| import.is_glob);
            globs.find_map(|import| match self.resolve(module, &import.path, seen) {
                Target::Module(of) => self.lookup(of, name, is_last, seen),
                Target::Item(_) | Target::Outside => None,
            })
        });
        seen.remove(&(module, name.to_owned()));
        found
    }

    /// What `name` is in `module`, from its items and its imports by name.
    fn own(&self, module: usize, name: &str, seen: &mut Seen) -> Option<Target> {
        let contents = &self.modules[module].contents;
        if contents.items.iter().any(|item| item == name) {
            return Some(Target::Item(module));
        }
        let mut imports = contents.imports.iter();
        let import = imports.find(|import| import.name.as_deref() == Some(name))?;
        Some(self.resolve(module, &import.path, seen))
    }

    /// Cycles that share no use, the shortest first, until none is left.
    fn circles(mut self) -> Vec<Vec<Found>> {
        let mut circles = Vec::new();
        loop {
            let starts = 0..self.files.len();
            let Some(circle) = starts
                .filter_map(|start| self.circle_through(start))
                .min_by_key(Vec::len)
            else {
                return circles;
            };
            circles.push(circle.into_iter().map(|step| self.remove(step)).collect());
        }
    }

    /// Removes a use.
    fn remove(&mut self, (from, to): Step) -> Found {
        let file = self.files[from].clone();
        let Use { line, path } = self.uses[from].remove(&to).expect("a use");
        Found { file, line, path }
    }

    /// The shortest way from a file back to itself.
    fn circle_through(&self, start: usize) -> Option<Vec<Step>> {
        let mut before = BTreeMap::new();
        let mut files = VecDeque::from([start]);
        while let Some(from) = files.pop_front() {
            for to in self.uses[from].keys().copied() {
                if to == start {
                    let mut steps = vec![(from, to)];
                    let mut to = from;
                    while let Some(&from) = before.get(&to) {
                        steps.push((from, to));
                        to = from;
                    }
                    steps.reverse();
                    return Some(steps);
                }
                before.entry(to).or_insert_with(|| {
                    files.push_back(to);
                    from
                });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The cycles of a crate with these files, each as the files in it.
    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let graph = Graph::read(&folder.path().join("lib.rs")).expect("a crate");
        let names = |circle: &Vec<Found>| {
            let files = circle.iter().map(|found| shown(&found.file, folder.path()));
            files.collect()
        };
        graph.circles().iter().map(names).collect()
    }

    #[test]
    fn siblings_that_use_each_other() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; mod c; pub use b::B;"),
            ("a.rs", "use crate::B; pub struct A;"),
            ("b.rs", "pub struct B; fn f() { super::c::g() }"),
            ("c.rs", "use crate::a::{A}; pub fn g() {}"),
        ]);
        assert_eq!(found, [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn parents_pass_on_and_declare() {
        let child = "use super::Parent; pub struct Child; use std::fmt;";
        let passes_on = "mod child; pub use child::Child; pub struct Parent; use std::io;";
        let files = |parent| {
            [
                ("lib.rs", "mod parent;"),
                ("parent.rs", parent),
                ("parent/child.rs", child),
            ]
        };
        assert!(circles(&files(passes_on)).is_empty());
        let uses = format!("{passes_on} fn f(_: Child) {{}}");
        assert_eq!(circles(&files(&uses)), [["parent.rs", "parent/child.rs"]]);
    }

    #[test]
    fn tests_other_crates_and_words_alike_are_no_uses() {
        let found = circles(&[
            ("lib.rs", "mod a; mod b; use std::fmt;"),
            (
                "a.rs",
                "use crate::b::B; #[cfg(test)] mod tests { use super::*; } fn f(x: u8) { x.g() } pub fn g() {}",
            ),
            (
                "b.rs",
                "use super::fmt; #[cfg(test)] use crate::a::g; pub struct B; /* crate::a::g */",
            ),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn globs_count_by_what_they_bring() {
        let a = ("a.rs", "use crate::b::*; pub struct A; fn f(_: B) {}");
        let files = |b| [("lib.rs", "mod a; mod b;"), a, ("b.rs", b)];
        let uses = "use super::a::*; pub struct B; fn f(_: A) {}";
        assert_eq!(circles(&files(uses)), [["a.rs", "b.rs"]]);
        assert!(circles(&files("use super::a::*; pub struct B; fn f(_: B) {}")).is_empty());
    }
}
