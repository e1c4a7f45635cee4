//! The modules of a target.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::contents::Contents;

/// The modules of a library, a program, a test, an example or a bench; test modules are left out.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The source files, the root first.
    pub files: Vec<PathBuf>,
    /// The modules, inline ones too, the root first.
    pub modules: Vec<Module>,
}

#[derive(Debug)]
pub(crate) struct Module {
    /// The module that declares it; the root is its own parent.
    pub parent: usize,
    /// The file that it is in, by its place among the files.
    pub file: usize,
    /// The modules that it declares.
    pub children: BTreeMap<String, usize>,
    pub contents: Contents,
}

impl Tree {
    /// Reads the target whose root file is `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        // Modules are beside the root, whatever it is called.
        tree.read_file(root.to_owned(), &root.with_file_name(""), 0)?;
        Ok(tree)
    }

    /// Adds the module in the file `path`; those that it declares are in `folder`.
    fn read_file(&mut self, path: PathBuf, folder: &Path, parent: usize) -> Result<usize> {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        self.files.push(path);
        let contents = Contents::parse(&text);
        self.add(contents, self.files.len() - 1, folder, parent)
    }

    fn add(
        &mut self,
        mut contents: Contents,
        file: usize,
        folder: &Path,
        parent: usize,
    ) -> Result<usize> {
        let declared = std::mem::take(&mut contents.modules);
        let id = self.modules.len();
        self.modules.push(Module {
            parent,
            file,
            children: BTreeMap::new(),
            contents,
        });
        for declaration in declared {
            let name = declaration.name;
            let inner = folder.join(&name);
            let child = if let Some(contents) = declaration.inline {
                self.add(contents, file, &inner, id)?
            } else {
                let places = [folder.join(format!("{name}.rs")), inner.join("mod.rs")];
                let Some(path) = places.into_iter().find(|path| path.is_file()) else {
                    bail!("{}: `mod {name};` has no file", self.files[file].display());
                };
                self.read_file(path, &inner, id)?
            };
            self.modules[id].children.insert(name, child);
        }
        Ok(id)
    }
}
