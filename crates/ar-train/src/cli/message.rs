use anyhow::Error;

/// An error and its causes; what an error repeats of its cause is said once.
pub fn message(error: &Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if message.is_empty() {
            message = text;
        } else if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn causes_are_said_once() {
        let cause = io::Error::other("gone");
        let error = Error::new(cause).context("cannot read a: gone");
        assert_eq!(
            message(&error.context("data.path = a")),
            "data.path = a: cannot read a: gone"
        );
        let error = Error::msg("not one").context("start_from = a");
        assert_eq!(message(&error), "start_from = a: not one");
    }
}
