use std::env;
use std::path::{Path, PathBuf};

/// The path with a leading `~` expanded to the home folder, which shells do not do in `key=~/x` and
/// in quotes. Write `./~` for a folder that is called `~`.
pub fn expand_home(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) if rest == Path::new("") => home,
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// The user in a `path` that starts with a home folder, as in `~root/a.mp4`, which only a shell
/// would expand.
pub fn home_of_another(path: impl AsRef<Path>) -> Option<String> {
    let first = path.as_ref().iter().next()?.to_str()?;
    let user = first.strip_prefix('~')?;
    let is_name = user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && user
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    is_name.then(|| user.to_owned())
}

/// The message for a path that starts with the home folder of `user`: what is wrong, and what would
/// be right.
pub fn not_a_home(user: &str) -> String {
    format!(
        "only `~` stands for a home folder, and not `~{user}`: write the path of that folder, or \
         ./~{user} for a file of that name"
    )
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

    #[test]
    fn homes_of_others_are_told_from_names() {
        for path in ["~root/a.mp4", "~root", "~build-user_2/x/y"] {
            assert!(home_of_another(path).is_some(), "{path}");
        }
        for path in [
            "~",
            "~/a",
            "./~root/a",
            "a/~root",
            "~1.mp4",
            "~a.mp4",
            "~$x/a",
            "",
            "/~root",
        ] {
            assert_eq!(home_of_another(path), None, "{path}");
        }
    }
}
