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

/// The user whose home folder `path` begins with, as in `~root/a.mp4`: a shell would have put the
/// folder there, and nothing else does.
pub fn home_of_another(path: impl AsRef<Path>) -> Option<String> {
    let first = path.as_ref().iter().next()?.to_str()?;
    let user = first.strip_prefix('~')?;
    let is_name = user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && user
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    is_name.then(|| user.to_owned())
}

/// What is wrong with a path that begins with the home folder of `user`, and what would be right.
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
