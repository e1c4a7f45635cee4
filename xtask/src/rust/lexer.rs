//! The tokens of a Rust source file, as far as paths need them.

/// A token with its line, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A name or a keyword; raw ones without their `r#`.
    Word(&'a str),
    /// `::`.
    Separator,
    /// Any other sign.
    Sign(char),
    /// A string, a character or a number, without its contents.
    Literal,
}

/// The tokens of `text`; comments and lifetimes are left out.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(c) = lexer.peek(0) {
        let line = lexer.line;
        if let Some(kind) = lexer.token(c) {
            tokens.push(Token { kind, line });
        }
    }
    tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self, index: usize) -> Option<char> {
        self.rest().chars().nth(index)
    }

    fn advance(&mut self, length: usize) {
        let passed = &self.text[self.at..self.at + length];
        self.line += passed.matches('\n').count();
        self.at += length;
    }

    /// Skips past `end`, or to the end of the text.
    fn skip_past(&mut self, end: &str) {
        let rest = self.rest();
        self.advance(rest.find(end).map_or(rest.len(), |at| at + end.len()));
    }

    /// Reads the token that starts with `c`.
    fn token(&mut self, c: char) -> Option<Kind<'a>> {
        let rest = self.rest();
        if rest.starts_with("//") {
            self.skip_past("\n");
            None
        } else if rest.starts_with("/*") {
            self.comment();
            None
        } else if c == '"' {
            self.string();
            Some(Kind::Literal)
        } else if c == '\'' {
            self.quote()
        } else if c.is_ascii_digit() {
            let is_digit = |c: char| c.is_alphanumeric() || c == '_';
            self.advance(rest.find(|c| !is_digit(c)).unwrap_or(rest.len()));
            Some(Kind::Literal)
        } else if c.is_alphabetic() || c == '_' {
            self.word()
        } else if rest.starts_with("::") {
            self.advance(2);
            Some(Kind::Separator)
        } else {
            self.advance(c.len_utf8());
            (!c.is_whitespace()).then_some(Kind::Sign(c))
        }
    }

    /// Comments between `/*` and `*/` nest.
    fn comment(&mut self) {
        self.advance(2);
        let mut depth = 1;
        while depth > 0 {
            let rest = self.rest();
            match (rest.find("/*"), rest.find("*/")) {
                (Some(open), Some(close)) if open < close => {
                    self.advance(open + 2);
                    depth += 1;
                }
                (_, Some(close)) => {
                    self.advance(close + 2);
                    depth -= 1;
                }
                (_, None) => return self.advance(rest.len()),
            }
        }
    }

    fn string(&mut self) {
        self.advance(1);
        while let Some(c) = self.peek(0) {
            self.advance(c.len_utf8());
            match c {
                '"' => return,
                '\\' => self.advance(self.peek(0).map_or(0, char::len_utf8)),
                _ => {}
            }
        }
    }

    /// A character or a lifetime.
    fn quote(&mut self) -> Option<Kind<'a>> {
        let is_character = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        if !is_character {
            self.advance(1);
            let rest = self.rest();
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            self.advance(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
            return None;
        }
        // The quote, a backslash and what it escapes, which may be a quote.
        let escaped = self.peek(1) == Some('\\');
        let count = if escaped { 3 } else { 2 };
        let length = self.rest().chars().take(count).map(char::len_utf8).sum();
        self.advance(length);
        self.skip_past("'");
        Some(Kind::Literal)
    }

    /// A word, or a literal that starts with letters: `b"..."`, `r#"..."#`, `b'x'`.
    fn word(&mut self) -> Option<Kind<'a>> {
        let rest = self.rest();
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        let after = &rest[word.len()..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        let is_raw = matches!(word, "r" | "br" | "cr") && after[hashes..].starts_with('"');
        if is_raw {
            self.advance(word.len() + hashes + 1);
            self.skip_past(&format!("\"{}", "#".repeat(hashes)));
            return Some(Kind::Literal);
        }
        self.advance(word.len());
        match word {
            "b" | "c" if after.starts_with('"') => {
                self.string();
                Some(Kind::Literal)
            }
            "b" if after.starts_with('\'') => self.quote(),
            "r" if after.starts_with('#') => {
                self.advance(1);
                self.word()
            }
            _ => Some(Kind::Word(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(&str, usize)> {
        tokens(text)
            .into_iter()
            .filter_map(|token| match token.kind {
                Kind::Word(word) => Some((word, token.line)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn words_of_comments_and_literals_are_left_out() {
        let text = "// one\na /* b /* c */ d */ e \"f \\\" g\" r#\"h \" i\"# b'j' '\\'' k::l\n\
                    fn m<'n>(o: &'n str) { b\"p\"; 1_u8; r#type }";
        let expected = [
            ("a", 2),
            ("e", 2),
            ("k", 2),
            ("l", 2),
            ("fn", 3),
            ("m", 3),
            ("o", 3),
            ("str", 3),
            ("type", 3),
        ];
        assert_eq!(words(text), expected);
    }

    #[test]
    fn signs_and_lines_are_kept() {
        let kinds: Vec<_> = tokens("a::b;\n'x'")
            .iter()
            .map(|t| (t.kind, t.line))
            .collect();
        assert_eq!(
            kinds,
            [
                (Kind::Word("a"), 1),
                (Kind::Separator, 1),
                (Kind::Word("b"), 1),
                (Kind::Sign(';'), 1),
                (Kind::Literal, 2),
            ]
        );
    }
}
