use std::fmt;
use std::hint::black_box;
use std::io;

use crate::ServeError;

/// Characters of the shortest token that is accepted.
const LEAST: usize = 16;
/// Random bytes in a token.
const BYTES: usize = 16;

/// The secret that a client needs to use the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token of 128 random bits.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random() -> Result<Self, ServeError> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| ServeError::System(io::Error::other(error.to_string())))?;
        Ok(Self(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    /// A token of your own.
    ///
    /// # Errors
    /// If it is shorter than 16 characters, or has characters other than letters, digits, `-` and
    /// `_`.
    pub fn new(text: &str) -> Result<Self, ServeError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.len() < LEAST || !text.chars().all(fits) {
            return Err(ServeError::Token {
                found: text.chars().count(),
                least: LEAST,
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` is the token. The time depends only on the length of `text`, so it reveals
    /// nothing about the token.
    pub(crate) fn is(&self, text: &str) -> bool {
        let own = self.0.as_bytes();
        let mut difference = u8::from(own.len() != text.len());
        for (i, byte) in text.bytes().enumerate() {
            difference = black_box(difference | (byte ^ own[i % own.len()]));
        }
        difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_the_token() {
        let token = Token::random().expect("random numbers");
        assert_eq!(token.as_str().len(), 2 * BYTES);
        assert!(token.is(token.as_str()));
        let mut longer = token.as_str().to_owned();
        longer.push('0');
        let twice = token.as_str().repeat(2);
        let other = Token::random().expect("random numbers");
        for wrong in ["", &longer, &twice, &longer[1..], other.as_str(), "\0"] {
            assert!(!token.is(wrong), "{wrong:?}");
        }
        assert!(!format!("{token:?}").contains(token.as_str()));
    }

    #[test]
    fn tokens_of_ones_own_are_long_and_plain() {
        assert!(Token::new("0123456789abcdef").is_ok());
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcde f",
            "0123456789abcdeü",
        ] {
            assert!(Token::new(wrong).is_err(), "{wrong}");
        }
    }
}
