/// How module paths and the keys of a file correspond.
#[derive(Clone, Copy, Debug)]
pub struct KeyMap {
    fragments: &'static [Fragments],
    ignored: &'static [&'static str],
}

/// `(module, file)`
type Fragments = (&'static str, &'static str);

impl KeyMap {
    /// A map from pairs of path fragments that end in a separator, `(module, file)`, and the
    /// prefixes of keys that files have and networks do not need, such as buffers that are
    /// recomputed. Fragments and prefixes match at the start of a path or after a dot.
    pub const fn new(
        fragments: &'static [(&'static str, &'static str)],
        ignored: &'static [&'static str],
    ) -> Self {
        Self { fragments, ignored }
    }

    /// The key in a file for a module path.
    pub(crate) fn file_key(self, path: &str) -> String {
        let mut key = format!(".{path}");
        for (module, file) in self.fragments {
            key = key.replace(&format!(".{module}"), &format!(".{file}"));
        }
        let key = key.trim_start_matches('.');
        match key.rsplit_once('.') {
            Some((layer, "gamma")) => format!("{layer}.weight"),
            Some((layer, "beta")) => format!("{layer}.bias"),
            _ => key.to_owned(),
        }
    }

    pub(crate) fn is_ignored(self, key: &str) -> bool {
        self.ignored
            .iter()
            .any(|prefix| key.starts_with(prefix) || key.contains(&format!(".{prefix}")))
    }
}
