use std::error::Error;

/// An error and its causes in one line, without the parts that an error repeats from its cause.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    one_line_as(error, |cause| cause.to_string())
}

/// [`one_line`], with `say` for the text of the error and of each of its causes.
pub fn one_line_as(
    error: &(dyn Error + 'static),
    say: impl Fn(&(dyn Error + 'static)) -> String,
) -> String {
    joined(error, |cause| without_excerpts(&say(cause)))
}

/// An error and its causes with their line breaks, such as in the excerpt of a file, without the
/// parts that an error repeats from its cause.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    joined(error, |cause| cause.to_string())
}

/// Text that is safe to print on a terminal: control characters, which file names can contain, are
/// escaped.
pub fn without_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
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

fn joined(error: &(dyn Error + 'static), say: impl Fn(&(dyn Error + 'static)) -> String) -> String {
    let mut message = say(error);
    for cause in chain(error).skip(1) {
        let text = say(cause);
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
    }
    message
}

/// A message of several lines as one line, without the excerpts of files (`3 | text`, ` | ^^^`)
/// that parsers draw.
fn without_excerpts(message: &str) -> String {
    let is_excerpt = |line: &str| {
        line.split_once('|')
            .is_some_and(|(number, _)| number.chars().all(|c| c == ' ' || c.is_ascii_digit()))
    };
    let mut joined = String::new();
    for line in message.lines().filter(|line| !is_excerpt(line)) {
        let line = line.trim();
        joined += match joined.as_str() {
            "" => "",
            _ if line.is_empty() => "",
            before if before.ends_with(':') => " ",
            _ => ": ",
        };
        joined += line;
    }
    joined
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
        assert_eq!(with_causes(error.as_ref()), expected);
        let error = Error::msg("not one").context("start_from = a");
        assert_eq!(with_causes(error.as_ref()), "start_from = a: not one");
    }

    #[test]
    fn names_of_files_do_not_command_a_terminal() {
        let name = "a\u{1b}[31m\r\u{9b}2J.mp4:\n\tb";
        let shown = "a\\u{1b}[31m\\r\\u{9b}2J.mp4:\n\tb";
        assert_eq!(without_controls(name), shown);
    }

    #[test]
    fn messages_become_one_line() {
        let message =
            "TOML parse error at line 2, column 1\n  |\n2 | a = 1\n  | ^\nunknown field\n";
        assert_eq!(
            without_excerpts(message),
            "TOML parse error at line 2, column 1: unknown field"
        );
        assert_eq!(
            without_excerpts("no clip:\n  a.gif: damaged\n\n  and 3 more\n"),
            "no clip: a.gif: damaged: and 3 more"
        );
    }
}
