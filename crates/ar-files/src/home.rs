use std::env;
use std::path::{Path, PathBuf};

/// The path with the home folder for a leading `~`, which shells leave alone in `key=~/x` and in
/// quotes. A folder that is called `~` is `./~`.
pub fn expand_home(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) if rest == Path::new("") => home,
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_tilde_is_home() {
        let home = env::home_dir().expect("a home");
        assert_eq!(expand_home("~"), home);
        assert_eq!(expand_home("~/runs/a"), home.join("runs/a"));
        for path in ["./~/a", "a/~", "~other/a", "/~", ""] {
            assert_eq!(expand_home(path), Path::new(path));
        }
    }
}
