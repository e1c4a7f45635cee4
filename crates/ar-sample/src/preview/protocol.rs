use std::env;

use ar_video::Frame;

use super::cells::Cells;
use super::{half_blocks, kitty, sixel};

/// How a terminal shows pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Characters of two pixels each, in 24-bit colour.
    HalfBlocks,
    /// kitty's graphics protocol.
    Kitty,
    /// Sixel graphics.
    Sixel,
}

impl Protocol {
    /// The best protocol that this terminal is known to support.
    pub(super) fn of_terminal() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        Self::of(&variable("TERM"), &variable("TERM_PROGRAM"))
    }

    fn of(term: &str, program: &str) -> Self {
        // Multiplexers do not pass pictures on, whatever terminal they are in.
        if ["screen", "tmux"].iter().any(|name| term.starts_with(name)) {
            return Self::HalfBlocks;
        }
        let program = program.to_lowercase();
        if term.contains("kitty") || ["ghostty", "wezterm"].contains(&program.as_str()) {
            return Self::Kitty;
        }
        if ["foot", "mlterm", "contour", "yaft"]
            .iter()
            .any(|name| term.starts_with(name))
        {
            return Self::Sixel;
        }
        Self::HalfBlocks
    }

    /// The picture over `cells`, and the cursor at the start of the line below.
    pub(super) fn encode(self, picture: &Frame, cells: Cells) -> String {
        match self {
            Self::HalfBlocks => half_blocks::encode(picture, cells),
            Self::Kitty => kitty::encode(picture, cells),
            Self::Sixel => sixel::encode(picture, cells),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_known_by_their_names() {
        for (term, program, expected) in [
            ("xterm-256color", "", Protocol::HalfBlocks),
            ("xterm-256color", "Apple_Terminal", Protocol::HalfBlocks),
            ("xterm-kitty", "", Protocol::Kitty),
            ("xterm-ghostty", "ghostty", Protocol::Kitty),
            ("xterm-256color", "WezTerm", Protocol::Kitty),
            ("foot-extra", "", Protocol::Sixel),
            ("tmux-256color", "WezTerm", Protocol::HalfBlocks),
            ("", "", Protocol::HalfBlocks),
        ] {
            assert_eq!(Protocol::of(term, program), expected, "{term} {program}");
        }
    }
}
