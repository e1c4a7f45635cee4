use std::ops::Range;

use anyhow::Error;
use ar_train::config::current_key;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The text of a configuration and its overrides, for errors that say where a key is.
#[derive(Clone, Debug)]
pub(super) struct ConfigSource {
    /// Name of the file.
    pub file: String,
    /// Its content.
    pub text: String,
    /// Overrides of the form `key.sub=value`.
    pub overrides: Vec<String>,
}

impl ConfigSource {
    /// Adds to an error where the keys that it carries are: the line, or the `--set`. Keys with
    /// default values are nowhere.
    pub(super) fn locate<T>(&self, result: ar_train::error::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            let places = self.places(error.keys());
            let error = Error::new(error);
            if places.is_empty() {
                error
            } else {
                error.context(places.join(", "))
            }
        })
    }

    /// Where keys are.
    fn places(&self, keys: &[String]) -> Vec<String> {
        let is_to_blame = |key: &str| keys.contains(&current_key(key));
        let mut overridden = Vec::new();
        let mut places = Vec::new();
        // The last one of a key counts.
        for text in self.overrides.iter().rev() {
            if let Some((key, _)) = text.split_once('=')
                && is_to_blame(key.trim())
                && !overridden.contains(&current_key(key.trim()))
            {
                overridden.push(current_key(key.trim()));
                places.insert(0, format!("--set {text}"));
            }
        }
        // A text that does not parse has its own error, with the line.
        let Ok(table) = DeTable::parse(&self.text) else {
            return places;
        };
        visit(table.get_ref(), "", &mut |key, span| {
            if is_to_blame(key) && !overridden.contains(&current_key(key)) {
                let line = self.text[..span.start].matches('\n').count() + 1;
                places.push(format!("{}, line {line} ({key})", self.file));
            }
        });
        places
    }
}

/// Shows every key of a table, sections included, with its position.
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

#[cfg(test)]
mod tests {
    use super::*;
    use ar_train::ConfigError;

    fn places(keys: &[&str], overrides: &[&str]) -> String {
        let source = ConfigSource {
            file: "a.toml".into(),
            text: "vae = \"\"\n[run]\nsteps = 0\n\n[transformer]\nnum_heads = 5 # of\ndepth = 1\n\
                   [vae_loss.lpips]\nvgg = 'gone'\n[data]\nheld_out = 3\nvideos = { size = 3, frames = 1 }\n"
                .into(),
            overrides: overrides.iter().map(|&text| text.into()).collect(),
        };
        let error = ConfigError::new(keys.iter().copied(), "no");
        let error = source.locate::<()>(Err(error.into()));
        format!("{:#}", error.expect_err("an error"))
    }

    #[test]
    fn errors_say_where_their_keys_stand() {
        for (keys, prefix) in [
            (&["run.steps"][..], "a.toml, line 3 (run.steps): "),
            (
                &["transformer.num_heads", "transformer.hidden_size"],
                "a.toml, line 6 (transformer.num_heads): ",
            ),
            (&["vae"], "a.toml, line 1 (vae): "),
            (&["vae_loss.lpips"], "a.toml, line 8 (vae_loss.lpips): "),
            (
                &["data.videos.size"],
                "a.toml, line 12 (data.videos.size): ",
            ),
            // With an old name.
            (&["data.validation"], "a.toml, line 11 (data.held_out): "),
            // Keys of other sections.
            (&[], ""),
            (&["discriminator.num_heads"], ""),
            (&["run.step"], ""),
            (&["steps"], ""),
        ] {
            assert_eq!(places(keys, &[]), format!("{prefix}no"));
        }
    }

    #[test]
    fn overrides_stand_in_place_of_lines() {
        let keys = ["transformer.num_heads", "transformer.hidden_size"];
        let set = ["transformer.num_heads=3", "transformer.hidden_size=16"];
        assert_eq!(
            places(&keys, &set),
            format!("--set {}, --set {}: no", set[0], set[1])
        );
        assert_eq!(
            places(&["data.validation"], &["data.validation=9"]),
            "--set data.validation=9: no"
        );
        let set = ["run.steps=1", "vae=a", "run.steps=2"];
        assert_eq!(
            places(&["run.steps", "vae"], &set),
            format!("--set {}, --set {}: no", set[1], set[2])
        );
    }
}
