use std::env;
use std::ffi::OsString;
use std::path::Path;

use ar_files::expand_home;

/// The arguments of this process, with the home folder instead of any `~` that the shell did not
/// expand: in `--out=~/x`, `--set key=~/x` or quotes. Write `./~` for a folder that is called `~`.
pub fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os().map(with_home)
}

fn with_home(argument: OsString) -> OsString {
    // An argument that is not text has no `~/` that a person typed.
    let Some(text) = argument.to_str() else {
        return argument;
    };
    let (start, path) = match text.split_once('=') {
        Some((option, path)) => (format!("{option}="), path),
        None => (String::new(), text),
    };
    if path != "~" && !path.starts_with("~/") {
        return argument;
    }
    let mut expanded = OsString::from(start);
    expanded.push(expand_home(Path::new(path)));
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_that_a_shell_has_left_is_home() {
        let home = env::home_dir().expect("a home");
        let home = home.display();
        for (argument, expected) in [
            ("~/a.mp4", format!("{home}/a.mp4")),
            ("--out=~/a.mp4", format!("--out={home}/a.mp4")),
            ("run.out=~/r", format!("run.out={home}/r")),
            ("./~/a.mp4", "./~/a.mp4".into()),
            ("--name=a~/b", "--name=a~/b".into()),
            ("a=b=~/c", "a=b=~/c".into()),
        ] {
            assert_eq!(with_home(argument.into()), OsString::from(expected));
        }
    }
}
