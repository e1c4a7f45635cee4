//! The help of a command, from clap's text to Markdown.

/// The output of `--help`.
pub(super) struct Help {
    /// The paragraphs before the usage.
    about: String,
    /// The lines of the usage.
    usage: Vec<String>,
    sections: Vec<Section>,
}

/// `Commands:`, `Arguments:`, `Options:` and the like.
#[derive(Default)]
struct Section {
    title: String,
    entries: Vec<Entry>,
    /// The lines of a section that has no entries, such as an example.
    lines: Vec<String>,
}

/// A command, an argument or an option.
struct Entry {
    name: String,
    /// Paragraphs; a line that starts with `- ` is an item of a list.
    text: Vec<String>,
}

impl Help {
    /// Parses clap's layout: a description is on the line of its option, or indented below it.
    pub(super) fn parse(text: &str) -> Self {
        let mut about = Vec::new();
        let mut usage = Vec::new();
        let mut sections: Vec<Section> = Vec::new();
        for line in text.lines() {
            if let Some(first) = line.strip_prefix("Usage:") {
                usage.push(first.trim().to_owned());
            } else if is_title(line) && !usage.is_empty() {
                sections.push(Section {
                    title: line.trim_end_matches(':').to_owned(),
                    ..Section::default()
                });
            } else if let Some(section) = sections.last_mut() {
                section.add(line);
            } else if usage.is_empty() {
                about.push(line);
            } else if !line.trim().is_empty() {
                usage.push(line.trim().to_owned());
            }
        }
        Self {
            about: about.join("\n").trim().to_owned(),
            usage,
            sections,
        }
    }

    /// The names of the subcommands, `help` left out.
    pub(super) fn subcommands(&self) -> impl Iterator<Item = &str> {
        let commands = self.sections.iter().filter(|it| it.title == "Commands");
        commands
            .flat_map(|section| &section.entries)
            .map(|entry| entry.name.as_str())
            .filter(|name| *name != "help")
    }

    /// Whether this is the command that `main` runs without a subcommand: it has the same options.
    pub(super) fn repeats(&self, main: &Self) -> bool {
        let options = |help: &Self| -> Vec<String> {
            let sections = help.sections.iter().filter(|it| it.title != "Commands");
            let entries = sections.flat_map(|section| &section.entries);
            let own = entries.filter(|entry| !entry.is_common());
            own.map(Entry::markdown).collect()
        };
        let own = options(self);
        !own.is_empty() && own == options(main)
    }

    /// The help below a heading of a page.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\n```text\n{}\n```\n",
            self.about,
            self.usage.join("\n")
        );
        for section in &self.sections {
            let own: Vec<&Entry> = section
                .entries
                .iter()
                .filter(|it| !it.is_common())
                .collect();
            if own.is_empty() && section.lines.is_empty() {
                continue;
            }
            text += &format!("\n**{}**\n\n", section.title);
            if own.is_empty() {
                text += &format!("```text\n{}\n```\n", section.lines.join("\n").trim_end());
            }
            for entry in own {
                text += &entry.markdown();
            }
        }
        text
    }
}

impl Section {
    fn add(&mut self, line: &str) {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        // clap indents a name by 2, by 6 where others have a short form, and texts below it by 10.
        let is_name = (1..10).contains(&indent)
            && (line.starts_with(['-', '<', '[']) || self.title == "Commands");
        if is_name && (self.lines.is_empty() || !self.entries.is_empty()) {
            let (name, text) = line.split_once("  ").unwrap_or((line, ""));
            self.entries.push(Entry {
                name: name.to_owned(),
                text: vec![text.trim().to_owned()],
            });
        } else if let Some(entry) = self.entries.last_mut() {
            entry.add(line);
        } else if !line.is_empty() {
            self.lines.push(format!("{}{line}", " ".repeat(indent)));
        }
    }
}

impl Entry {
    fn add(&mut self, line: &str) {
        let Some(last) = self.text.last_mut() else {
            return;
        };
        if line.is_empty() || line.starts_with("- ") || line.starts_with('[') {
            self.text.push(line.to_owned());
        } else if last.is_empty() {
            *last = line.to_owned();
        } else {
            *last += " ";
            *last += line;
        }
    }

    /// Whether every command has it.
    fn is_common(&self) -> bool {
        ["--help", "--version"]
            .iter()
            .any(|it| self.name.contains(it))
            || self.name == "help"
    }

    fn markdown(&self) -> String {
        let mut text = format!("- `{}`", self.name);
        let parts = self.text.iter().filter(|part| !part.is_empty());
        for (index, part) in parts.enumerate() {
            text += match index {
                0 => ": ",
                _ if part.starts_with("- ") => "\n  ",
                _ => " ",
            };
            // Text that looks like a tag would vanish.
            text += &part.replace('<', "\\<");
        }
        text + "\n"
    }
}

/// Whether a line is the title of a section: not indented, and ending in a colon.
fn is_title(line: &str) -> bool {
    line.ends_with(':') && line.starts_with(|first: char| first.is_uppercase())
}
