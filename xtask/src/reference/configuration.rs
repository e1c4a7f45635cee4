//! The keys of configurations, from commented TOML to Markdown tables.

use std::fs;

use anyhow::{Context, Result};

use super::commands::{Commands, notice};

/// The presets that have every key of a stage, and their titles on the page.
const PRESETS: [(&str, &str); 4] = [
    ("vae", "ar-train vae"),
    ("vae-temporal", "ar-train vae, temporal stage"),
    ("latents", "ar-train latents"),
    ("diffusion", "ar-train diffusion"),
];

const INTRODUCTION: &str = "\
Every stage of `ar-train` reads one file in [TOML](https://toml.io). `ar-train init --preset NAME` writes one to start \
from; the presets are listed at the end of this page. On the command line, `--set run.steps=500` overrides the key \
`steps` of the section `[run]`; it can be repeated.

The tables show the presets `vae`, `vae-temporal`, `latents` and `diffusion`, which serve as \
documentation: they have every key, with its default if it has one. Keys marked *optional* are comments in the \
preset: remove the `#` to use them. A key that is not listed here is refused, with its line in the file.
";

/// The page: a table for each section of each stage, then the list of presets.
pub(super) fn page(commands: &Commands) -> Result<String> {
    let mut text = notice("ar-train init");
    text += &format!("# Configuration\n\n{INTRODUCTION}");
    for (preset, title) in PRESETS {
        let path = commands.scratch(&format!("{preset}.toml"))?;
        let target = path.to_string_lossy();
        commands.say("ar-train", &["init", "--preset", preset, "--out", &target])?;
        let toml = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        text += &format!("\n## {title}\n\nPreset `{preset}`.\n{}", tables(&toml));
    }
    let presets = commands.say("ar-train", &["presets"])?;
    text += "\n## Presets\n\n| preset | stage | what it is for |\n|---|---|---|\n";
    for line in presets.lines() {
        let mut words = line.splitn(2, ' ');
        let name = words.next().unwrap_or_default();
        let (stage, what) = words
            .next()
            .and_then(|rest| rest.trim_start().split_once(' '))
            .unwrap_or_default();
        text += &format!("| `{name}` | `{stage}` | {} |\n", what.trim());
    }
    Ok(text)
}

/// A table for each section of a configuration, and the remarks between them. Remarks before the
/// first key are about the file, and are left out.
pub(super) fn tables(toml: &str) -> String {
    let mut text = String::new();
    let mut has_table = false;
    let mut is_optional = false;
    let mut remarks: Vec<&str> = Vec::new();
    for line in toml.lines() {
        match Line::parse(line) {
            Line::Section {
                name,
                is_comment,
                remark,
            } => {
                text += &format!("\n### `[{name}]`\n");
                let optional = if is_comment { "*optional*" } else { "" };
                for part in [optional, remark, &remarks.join(" ")] {
                    if !part.is_empty() {
                        text += &format!("\n{part}\n");
                    }
                }
                remarks.clear();
                has_table = false;
                is_optional = is_comment;
            }
            Line::Key {
                name,
                value,
                is_comment,
                remark,
            } => {
                if !has_table {
                    if text.is_empty() {
                        remarks.clear();
                    }
                    text += "\n| key | value | meaning |\n|---|---|---|\n";
                    has_table = true;
                }
                // Stated once, under the title, if it applies to the whole section.
                let optional = if is_comment && !is_optional {
                    "*optional.* "
                } else {
                    ""
                };
                let [value, remark] = [value, remark].map(|it| it.replace('|', "\\|"));
                text += &format!("| `{name}` | `{value}` | {optional}{remark} |\n");
            }
            Line::Remark(remark) => remarks.push(remark),
            Line::Empty => remarks.clear(),
        }
    }
    text
}

/// A line of a commented configuration.
enum Line<'a> {
    Section {
        name: &'a str,
        is_comment: bool,
        remark: &'a str,
    },
    Key {
        name: &'a str,
        value: &'a str,
        is_comment: bool,
        remark: &'a str,
    },
    Remark(&'a str),
    Empty,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let line = line.trim();
        if line.is_empty() {
            return Self::Empty;
        }
        let (is_comment, line) = match line.strip_prefix('#') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, line),
        };
        let (code, remark) = split_remark(line);
        if let Some(name) = code.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            return Self::Section {
                name,
                is_comment,
                remark,
            };
        }
        match code.split_once(" = ") {
            Some((name, value)) if is_key(name) => Self::Key {
                name,
                value: value.trim(),
                is_comment,
                remark,
            },
            _ => Self::Remark(line),
        }
    }
}

/// Whether this is a TOML key, dots included, and not a sentence.
fn is_key(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// The text before the `#` of a line and after it, except for a `#` in quotes.
fn split_remark(line: &str) -> (&str, &str) {
    let mut is_quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted => return (line[..at].trim(), line[at + 1..].trim()),
            _ => {}
        }
    }
    (line, "")
}
