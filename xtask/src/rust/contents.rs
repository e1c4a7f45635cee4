//! What a module declares and names.

use super::lexer::{Kind, Token, tokens};

/// The code of a module, without its tests.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Modules that it declares.
    pub modules: Vec<Declaration>,
    /// Names of what it defines itself.
    pub items: Vec<String>,
    /// What it brings into scope.
    pub imports: Vec<Import>,
    /// Paths of two or more words in its code.
    pub paths: Vec<(Vec<String>, usize)>,
    /// Words of its code that may start a path, each with its line.
    pub words: Vec<(String, usize)>,
}

/// `mod name;` or `mod name { .. }`.
#[derive(Debug)]
pub(crate) struct Declaration {
    pub name: String,
    /// The contents of its braces, if it has any.
    pub inline: Option<Contents>,
}

/// One name of a `use`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// The path, without the `*` of a glob.
    pub path: Vec<String>,
    /// The name in scope; none for a glob and for `as _`.
    pub name: Option<String>,
    pub is_glob: bool,
    /// Whether others may name it through this module.
    pub is_public: bool,
    pub line: usize,
}

impl Contents {
    /// Reads the text of a file.
    pub(crate) fn parse(text: &str) -> Self {
        let tokens = &tokens(text);
        Reader { tokens, at: 0 }.contents()
    }
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
}

impl<'a> Reader<'a> {
    fn kind(&self, ahead: usize) -> Option<Kind<'a>> {
        self.tokens.get(self.at + ahead).map(|token| token.kind)
    }

    fn word(&self, ahead: usize) -> Option<&'a str> {
        match self.kind(ahead)? {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    fn is_sign(&self, ahead: usize, sign: char) -> bool {
        self.kind(ahead) == Some(Kind::Sign(sign))
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    /// Reads to the brace that closes the module, or to the end.
    fn contents(&mut self) -> Contents {
        let mut contents = Contents::default();
        // Nesting of braces, and of parentheses and brackets.
        let (mut braces, mut brackets) = (0_usize, 0_usize);
        let mut is_public = false;
        while let Some(kind) = self.kind(0) {
            let was_public = std::mem::take(&mut is_public);
            match kind {
                Kind::Sign('#') if self.is_sign(1, '[') => {
                    if self.is_test() {
                        self.skip_attributes();
                        self.skip_item();
                        continue;
                    }
                }
                Kind::Sign('{') => braces += 1,
                Kind::Sign('}') if braces == 0 => {
                    self.at += 1;
                    return contents;
                }
                Kind::Sign('}') => braces -= 1,
                Kind::Sign('(' | '[') => brackets += 1,
                Kind::Sign(')' | ']') => brackets = brackets.saturating_sub(1),
                Kind::Word("pub") => {
                    self.at += 1;
                    self.skip_visibility();
                    is_public = true;
                    continue;
                }
                Kind::Word("mod") if self.word(1).is_some() => {
                    self.declaration(&mut contents);
                    continue;
                }
                Kind::Word("use") if braces > 0 || brackets == 0 => {
                    self.imports(&mut contents, was_public);
                    continue;
                }
                Kind::Word(word) => {
                    if braces == 0 && brackets == 0 {
                        contents.items.extend(self.item(word));
                    }
                    self.path(word, &mut contents);
                    continue;
                }
                Kind::Separator | Kind::Sign(_) | Kind::Literal => {}
            }
            self.at += 1;
        }
        contents
    }

    /// Whether an attribute starts that restricts the next item to tests.
    fn is_test(&self) -> bool {
        match self.word(2) {
            Some("cfg") => {
                self.word(4) == Some("test")
                    || self.word(4) == Some("all") && self.word(6) == Some("test")
            }
            word => word == Some("test"),
        }
    }

    fn skip_attributes(&mut self) {
        while self.is_sign(0, '#') && self.is_sign(1, '[') {
            self.at += 1;
            self.skip_group();
        }
    }

    fn declaration(&mut self, contents: &mut Contents) {
        let name = self.word(1).unwrap_or_default().to_owned();
        self.at += 2;
        let is_inline = self.is_sign(0, '{');
        self.at += 1;
        let inline = is_inline.then(|| self.contents());
        contents.modules.push(Declaration { name, inline });
    }

    /// `(crate)`, `(super)`, `(self)` or `(in path)` after `pub`.
    fn skip_visibility(&mut self) {
        if self.is_sign(0, '(') && matches!(self.word(1), Some("crate" | "super" | "self" | "in")) {
            self.skip_group();
        }
    }

    /// Skips a group in parentheses, brackets or braces.
    fn skip_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(kind) = self.kind(0) {
            self.at += 1;
            match kind {
                Kind::Sign('(' | '[' | '{') => depth += 1,
                Kind::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips an item: to its semicolon or past its braces.
    fn skip_item(&mut self) {
        while let Some(kind) = self.kind(0) {
            match kind {
                Kind::Sign('{') => {
                    // The braces of `use a::{b, c};` do not end it.
                    self.skip_group();
                    if !self.is_sign(0, ';') {
                        return;
                    }
                }
                Kind::Sign('(' | '[') => self.skip_group(),
                Kind::Sign(';') => {
                    self.at += 1;
                    return;
                }
                // The end of the group that the item is in.
                Kind::Sign('}') => return,
                _ => self.at += 1,
            }
        }
    }

    /// The name of the item that starts with the keyword `word`.
    fn item(&self, word: &str) -> Option<String> {
        let name = match word {
            "macro_rules" => self.word(2)?,
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" => {
                // Not a parameter as in `impl<const N: usize>`.
                let before = self.at.checked_sub(1).map(|at| self.tokens[at].kind);
                let is_parameter = matches!(before, Some(Kind::Sign('<' | ',')));
                (!is_parameter).then(|| self.word(1))??
            }
            _ => return None,
        };
        let is_keyword = matches!(name, "fn" | "unsafe" | "extern" | "async" | "mut" | "_");
        (!is_keyword).then(|| name.to_owned())
    }

    /// Reads a path that starts with `first`.
    fn path(&mut self, first: &str, contents: &mut Contents) {
        let line = self.line();
        // `x.first` and `<T>::first` do not name an item of a module.
        let before = self.at.checked_sub(1).map(|at| self.tokens[at].kind);
        let is_part = matches!(before, Some(Kind::Sign('.') | Kind::Separator));
        let mut path = vec![first.to_owned()];
        self.at += 1;
        while self.kind(0) == Some(Kind::Separator)
            && let Some(word) = self.word(1)
        {
            path.push(word.to_owned());
            self.at += 2;
        }
        if is_part {
            return;
        }
        contents.words.push((first.to_owned(), line));
        if path.len() > 1 {
            contents.paths.push((path, line));
        }
    }

    fn imports(&mut self, contents: &mut Contents, is_public: bool) {
        self.at += 1;
        self.tree(Vec::new(), is_public, &mut contents.imports);
        if self.is_sign(0, ';') {
            self.at += 1;
        }
    }

    /// Reads the rest of a `use` after `prefix`.
    fn tree(&mut self, mut prefix: Vec<String>, is_public: bool, imports: &mut Vec<Import>) {
        let line = self.line();
        loop {
            match self.kind(0) {
                Some(Kind::Separator) => self.at += 1,
                Some(Kind::Sign('{')) => {
                    self.at += 1;
                    while self.kind(0).is_some() && !self.is_sign(0, '}') {
                        self.tree(prefix.clone(), is_public, imports);
                        if self.is_sign(0, ',') {
                            self.at += 1;
                        } else if !self.is_sign(0, '}') {
                            // Something unknown: skip to the end of the group.
                            return;
                        }
                    }
                    self.at += 1;
                    return;
                }
                Some(Kind::Sign('*')) => {
                    self.at += 1;
                    return imports.push(Import {
                        path: prefix,
                        name: None,
                        is_glob: true,
                        is_public,
                        line,
                    });
                }
                // `use a::{self}`, but not `use self::a`.
                Some(Kind::Word("self")) if !prefix.is_empty() => self.at += 1,
                Some(Kind::Word("as")) => {
                    let name = self.word(1).filter(|name| *name != "_");
                    self.at += 2;
                    return imports.push(Import {
                        name: name.map(str::to_owned),
                        path: prefix,
                        is_glob: false,
                        is_public,
                        line,
                    });
                }
                Some(Kind::Word(word)) => {
                    prefix.push(word.to_owned());
                    self.at += 1;
                }
                _ => {
                    return imports.push(Import {
                        name: prefix.last().cloned(),
                        path: prefix,
                        is_glob: false,
                        is_public,
                        line,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_imports_and_paths_are_read() {
        let text = "#![warn(a)]\nmod one;\npub(crate) mod two { use super::one; fn x() {} }\n\
                    pub use one::{self, Two as Three, four::*};\nuse std::fmt;\n\
                    #[cfg(test)]\n#[b]\nmod tests { use super::*; }\n#[c(one::D)]\n\
                    impl<const N: usize> A for B { fn m(&self) { self.one::<u8>(); two::x() } }\n\
                    pub const fn f() {}\nmacro_rules! g { () => {} }\n";
        let contents = Contents::parse(text);
        let modules: Vec<_> = contents.modules.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(modules, ["one", "two"]);
        let inline = contents.modules[1].inline.as_ref().expect("a module");
        assert_eq!(inline.items, ["x"]);
        assert_eq!(inline.imports[0].path, ["super", "one"]);
        assert_eq!(contents.items, ["f", "g"]);
        let imports: Vec<_> = contents
            .imports
            .iter()
            .map(|i| (i.path.join("::"), i.name.as_deref(), i.is_glob, i.is_public))
            .collect();
        assert_eq!(
            imports,
            [
                ("one".to_owned(), Some("one"), false, true),
                ("one::Two".to_owned(), Some("Three"), false, true),
                ("one::four".to_owned(), None, true, true),
                ("std::fmt".to_owned(), Some("fmt"), false, false),
            ]
        );
        let paths: Vec<_> = contents
            .paths
            .iter()
            .map(|(path, _)| path.join("::"))
            .collect();
        assert_eq!(paths, ["one::D", "two::x"]);
    }
}
