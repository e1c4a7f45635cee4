use std::error::Error;
use std::fmt::Display;

/// An error and its causes in one line, without the parts that an error repeats from its cause.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    one_line_as(error, |cause| cause.to_string())
}

/// [`one_line`], with `say` for the text of the error and of each of its causes.
pub fn one_line_as(
    error: &(dyn Error + 'static),
    say: impl Fn(&(dyn Error + 'static)) -> String,
) -> String {
    let mut message = as_line(&say(error));
    for cause in chain(error).skip(1) {
        let text = as_line(&say(cause));
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
    }
    match limit(&message) {
        Some(limit) => format!("{message}: raise the limit on {limit}"),
        None => message,
    }
}

/// The system limit that an error is about, if the error does not name it.
fn limit(message: &str) -> Option<&'static str> {
    const LIMITS: [(&str, &str); 4] = [
        (
            "Resource temporarily unavailable (",
            "processes (`ulimit -u`) or memory (`-v`)",
        ),
        ("Too many open files (", "open files (`ulimit -n`)"),
        ("File too large (", "the size of files (`ulimit -f`)"),
        ("Cannot allocate memory (", "memory (`ulimit -v`)"),
    ];
    if message.contains("ulimit") {
        return None;
    }
    let mut limits = LIMITS.into_iter();
    limits
        .find(|(words, _)| message.contains(words))
        .map(|(_, limit)| limit)
}

/// Text as one line that is safe to print on a terminal: line breaks and other control characters,
/// which file names can contain, are escaped.
pub fn without_controls(text: impl Display) -> String {
    let text = text.to_string();
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// An error, its cause, the cause of that, and so on.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// A message as one line. The excerpts of files (`3 | text`, `  | ^^^`) that parsers draw are left out;
/// line breaks in other messages come from file names.
fn as_line(message: &str) -> String {
    let is_excerpt = |line: &str| {
        line.split_once('|')
            .is_some_and(|(number, _)| number.chars().all(|c| c == ' ' || c.is_ascii_digit()))
    };
    if !message.lines().any(is_excerpt) {
        return without_controls(message);
    }
    let lines = message.lines().filter(|line| !is_excerpt(line));
    let lines: Vec<String> = lines
        .map(|line| without_controls(line.trim()))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Error;

    use super::*;

    #[test]
    fn causes_are_said_once() {
        let io = io::Error::other("disk on fire");
        let error = Error::new(io)
            .context("a.mp4: disk on fire")
            .context("cannot write");
        let expected = "cannot write: a.mp4: disk on fire";
        assert_eq!(one_line(error.as_ref()), expected);
        let error = Error::msg("not one").context("start_from = a");
        assert_eq!(one_line(error.as_ref()), "start_from = a: not one");
    }

    #[test]
    fn names_of_files_do_not_command_a_terminal() {
        let name = "a\u{1b}[31m\r\u{9b}2J.mp4:\n\tb";
        let shown = "a\\u{1b}[31m\\r\\u{9b}2J.mp4:\\n\\tb";
        assert_eq!(without_controls(name), shown);
        let error = Error::msg(name).context("cannot read");
        assert_eq!(one_line(error.as_ref()), format!("cannot read: {shown}"));
    }

    #[cfg(unix)]
    #[test]
    fn limits_of_the_system_are_named() {
        // EAGAIN on Linux, EMFILE, EFBIG.
        for (code, limit) in [
            (libc::EAGAIN, "-u"),
            (libc::EMFILE, "-n"),
            (libc::EFBIG, "-f"),
        ] {
            let error = Error::new(io::Error::from_raw_os_error(code)).context("a.mp4");
            let message = one_line(error.as_ref());
            assert!(
                message.contains(&format!("(`ulimit {limit}`)")),
                "{message}"
            );
        }
    }

    #[test]
    fn messages_become_one_line() {
        let message =
            "TOML parse error at line 2, column 1\n  |\n2 | a = 1\n  | ^\nunknown field\n";
        assert_eq!(
            as_line(message),
            "TOML parse error at line 2, column 1: unknown field"
        );
        assert_eq!(as_line("a\nb.gif: damaged\n"), "a\\nb.gif: damaged\\n");
    }

    proptest::proptest! {
        /// The texts of an error and its causes.
        #[test]
        fn any_error_is_one_line(texts in proptest::collection::vec("(\\PC|\n|[ 0-9]{0,3}\\||[\u{0}-\u{1f}\u{7f}-\u{9f}]){0,20}", 1..4)) {
            let mut texts = texts.into_iter();
            let first = Error::msg(texts.next().expect("a text"));
            let error = texts.fold(first, Error::context);
            let line = one_line(error.as_ref());
            proptest::prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}
