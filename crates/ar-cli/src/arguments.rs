use std::env;
use std::ffi::OsString;
use std::path::Path;

use ar_files::{expand_home, home_of_another, not_a_home};
use clap::Parser;

use crate::exit::FAILED;
use crate::{tell, without_controls};

/// The command line of this process. If it is wrong, the process ends, and says why: without control characters, which
/// arguments can contain.
#[expect(
    clippy::exit,
    reason = "the command line is wrong, or asks for the help"
)]
pub fn parse<C: Parser>() -> C {
    C::try_parse_from(arguments()).unwrap_or_else(|error| {
        match C::try_parse_from(arguments().map(shown)) {
            // The same error, of arguments that can be shown.
            Err(error) => error.exit(),
            // A value that is right only in this form.
            Ok(_) => {
                error.render().to_string().lines().for_each(tell);
                std::process::exit(error.exit_code())
            }
        }
    })
}

/// An argument with its control characters escaped, if it has any.
fn shown(argument: OsString) -> OsString {
    let text = argument.to_string_lossy();
    if text.contains(char::is_control) {
        return without_controls(text).into();
    }
    argument
}

/// The arguments of this process, with the home folder instead of any `~` that the shell did not
/// expand: in `--out=~/x`, `--set key=~/x` or quotes. Write `./~` for a folder that is called `~`.
/// An argument that starts with the home folder of another user (`~root/x`) ends the process.
#[expect(clippy::exit, reason = "the command line is wrong")]
fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os().map(|argument| {
        with_home(argument).unwrap_or_else(|error| {
            tell(format_args!("error: {error}"));
            std::process::exit(FAILED.into())
        })
    })
}

fn with_home(argument: OsString) -> Result<OsString, String> {
    // An argument that is not text has no `~/` that a person typed.
    let Some(text) = argument.to_str() else {
        return Ok(argument);
    };
    let (start, path) = match text.split_once('=') {
        Some((option, path)) => (format!("{option}="), path),
        None => (String::new(), text),
    };
    if let Some(user) = home_of_another(path) {
        return Err(format!("{text}: {}", not_a_home(&user)));
    }
    if path != "~" && !path.starts_with("~/") {
        return Ok(argument);
    }
    let mut expanded = OsString::from(start);
    expanded.push(expand_home(Path::new(path)));
    Ok(expanded)
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
            assert_eq!(with_home(argument.into()), Ok(OsString::from(expected)));
        }
        for argument in ["~root/x.mp4", "--out=~root/x.mp4", "run.out=~root"] {
            let error = with_home(argument.into()).expect_err("another home");
            assert!(error.contains("./~root"), "{error}");
        }
    }
}
