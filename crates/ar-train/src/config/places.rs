use std::ops::Range;

use anyhow::{Error, Result};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The text of a configuration and what overrides it, for errors that say where a key stands.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// Name of the file.
    pub file: String,
    /// Its content.
    pub text: String,
    /// Overrides of the form `key.sub=value`.
    pub overrides: Vec<String>,
}

impl ConfigSource {
    /// Adds to an error the places of the keys that it names: the line, or the `--set`. Keys that
    /// have their defaults stand nowhere.
    pub fn locate<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.located(error))
    }

    fn located(&self, error: Error) -> Error {
        let places = self.places(&format!("{error:#}"));
        match places.is_empty() {
            true => error,
            false => error.context(places.join(", ")),
        }
    }

    /// Where the keys stand that `message` names.
    fn places(&self, message: &str) -> Vec<String> {
        let overridden = |key: &str| {
            let sets = |text: &&String| text.split_once('=').is_some_and(|(set, _)| set == key);
            self.overrides.iter().rfind(sets)
        };
        let mut places: Vec<String> = self
            .overrides
            .iter()
            .filter_map(|text| {
                let (key, _) = text.split_once('=')?;
                names(message, key).then(|| format!("--set {text}"))
            })
            .collect();
        // A text that does not parse has an error of its own, with the line.
        let Ok(table) = DeTable::parse(&self.text) else {
            return places;
        };
        visit(table.get_ref(), "", &mut |key, span| {
            if names(message, key) && overridden(key).is_none() {
                let line = self.text[..span.start].matches('\n').count() + 1;
                places.push(format!("{}, line {line} ({key})", self.file));
            }
        });
        places
    }
}

/// Shows every key of a table, sections included, with its place.
fn visit(table: &DeTable<'_>, section: &str, show: &mut impl FnMut(&str, Range<usize>)) {
    let mut entries: Vec<(&Spanned<DeString<'_>>, _)> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (name, value) in entries {
        let key = match section {
            "" => name.get_ref().to_string(),
            section => format!("{section}.{}", name.get_ref()),
        };
        show(&key, name.span());
        if let DeValue::Table(table) = value.get_ref() {
            visit(table, &key, show);
        }
    }
}

/// Whether `message` names `key`: with its sections, as in `run.steps`; or the rest of it, where the
/// section before that is told too, as in `transformer: num_heads = 5`. A name that may be a word of
/// the language has to be followed by `=` or `is`.
fn names(message: &str, key: &str) -> bool {
    let is_told = |word: &str| words(message).any(|(found, _)| found == word);
    let starts = std::iter::once(0).chain(key.match_indices('.').map(|(dot, _)| dot + 1));
    starts.into_iter().any(|start| {
        let (sections, rest) = key.split_at(start);
        let section = sections.trim_end_matches('.').rsplit('.').next();
        let section_is_told = section.is_none_or(|section| section.is_empty() || is_told(section));
        section_is_told
            && words(message).any(|(found, after)| {
                let is_plain = !rest.contains(['.', '_']);
                let is_value = after.starts_with(" = ") || after.starts_with(" is ");
                found == rest && (!is_plain || is_value)
            })
    })
}

/// The words of a message, keys with their sections as one, and what follows each.
fn words(message: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut rest = message;
    std::iter::from_fn(move || {
        rest = &rest[rest.find(is_part)?..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some((word.trim_matches('.'), after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    fn places(message: &str, overrides: &[&str]) -> String {
        let source = ConfigSource {
            file: "a.toml".into(),
            text: "vae = \"\"\n[run]\nsteps = 0\n\n[transformer]\nnum_heads = 5 # of\ndepth = 1\n\
                   [vae_loss.lpips]\nvgg = 'gone'\n[data]\nvideos = { size = 3, frames = 1 }\n"
                .into(),
            overrides: overrides.iter().map(|&text| text.into()).collect(),
        };
        let error = source.locate::<()>(Err(anyhow!("{message}")));
        format!("{:#}", error.expect_err("an error"))
    }

    #[test]
    fn errors_say_where_their_keys_stand() {
        for (message, prefix) in [
            ("run.steps is 0", "a.toml, line 3 (run.steps): "),
            (
                "transformer: num_heads = 5 does not divide hidden_size = 16",
                "a.toml, line 6 (transformer.num_heads): ",
            ),
            ("vae is not given", "a.toml, line 1 (vae): "),
            (
                "[vae_loss.lpips]: gone",
                "a.toml, line 8 (vae_loss.lpips): ",
            ),
            ("videos: size is 3", "a.toml, line 11 (data.videos.size): "),
            // Words of the language, and keys of other sections.
            ("the vae has depth", ""),
            ("discriminator: num_heads = 5", ""),
            ("run.step is 0", ""),
        ] {
            assert_eq!(places(message, &[]), format!("{prefix}{message}"));
        }
    }

    #[test]
    fn overrides_stand_in_place_of_lines() {
        let message = "transformer: num_heads = 3 does not divide hidden_size = 16";
        let set = ["transformer.num_heads=3", "transformer.hidden_size=16"];
        assert_eq!(
            places(message, &set),
            format!("--set {}, --set {}: {message}", set[0], set[1])
        );
    }
}
