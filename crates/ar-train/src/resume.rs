//! What may change when a run is resumed, and what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use toml::{Table, Value};

use crate::config::{StageConfig, misfit};
use crate::error::ConfigError;

/// A key whose value differs between two configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key, with its sections.
    pub key: String,
    before: Option<Value>,
    after: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "not set".to_owned(),
        };
        let [before, after] = [&self.before, &self.after].map(show);
        write!(f, "{} was {before} and is {after}", self.key)
    }
}

/// Reads the configuration of an earlier run.
///
/// # Errors
/// If it is not a configuration of the stage.
pub(crate) fn run_config<C: StageConfig>(text: &str) -> Result<C, ConfigError> {
    // Through the type, so that keys that an older version did not have get their defaults. As a
    // table first, which cannot hold numbers that could not be written again.
    let config = toml::from_str::<Table>(text).and_then(C::deserialize);
    config.map_err(|error| {
        let message = "the configuration of the run does not belong to this stage and version";
        ConfigError::without_key(message).because(misfit(error))
    })
}

/// Compares the configuration `before` of an earlier run with the one that it is resumed with.
///
/// # Errors
/// If a key changed that must not change, or `before` is not a configuration of the stage.
pub fn changes<C: StageConfig>(before: &str, after: &C) -> Result<Vec<Change>, ConfigError> {
    let before: C = run_config(before)?;
    let changes = differences(&before, after);
    let kept = before.kept_in(after);
    let refused = differences(&kept, after);
    if refused.is_empty() {
        return Ok(changes);
    }
    let list: Vec<String> = refused.iter().map(Change::to_string).collect();
    let message = format!(
        "a run keeps these keys when it is resumed: {}; start a new run with \
         `--set run.out=FOLDER` to change them",
        list.join("; ")
    );
    Err(ConfigError::new(
        refused.into_iter().map(|change| change.key),
        message,
    ))
}

/// The keys whose values differ, in their order.
fn differences(before: &impl Serialize, after: &impl Serialize) -> Vec<Change> {
    let [before, after] = [flat(before), flat(after)];
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|&key| before.get(key) != after.get(key));
    differ
        .map(|key| Change {
            key: key.clone(),
            before: before.get(key).cloned(),
            after: after.get(key).cloned(),
        })
        .collect()
}

/// Values by key with sections, `run.steps`.
fn flat(config: &impl Serialize) -> BTreeMap<String, Value> {
    fn add(prefix: &str, table: Table, flat: &mut BTreeMap<String, Value>) {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                Value::Table(table) => add(&format!("{key}."), table, flat),
                value => {
                    flat.insert(key, value);
                }
            }
        }
    }
    let mut values = BTreeMap::new();
    let table = Table::try_from(config).expect("a configuration is TOML");
    add("", table, &mut values);
    values
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::config::VaeRun;

    fn config(text: &str) -> VaeRun {
        toml::from_str(text).expect("a configuration")
    }

    #[test]
    fn changes_are_named_with_both_values() {
        let before = "[run]\nsteps = 5\n";
        let after = config("[run]\nsteps = 7\n[optimizer]\nlearning_rate = 0.5\n");
        let changes = changes(before, &after).expect("nothing fixed");
        let text: Vec<String> = changes.iter().map(Change::to_string).collect();
        assert_eq!(
            text,
            [
                "optimizer.learning_rate was 0.0002 and is 0.5",
                "run.steps was 5 and is 7"
            ]
        );
        assert!(
            super::changes(before, &config(before))
                .expect("none")
                .is_empty()
        );
    }

    #[test]
    fn a_configuration_that_nothing_has_written_is_an_error() {
        let damaged = "[run]\nseed = 18446744073709551615\n";
        let error = changes(damaged, &config("")).expect_err("no TOML");
        assert!(
            error.to_string().contains("does not belong to this stage"),
            "{error}"
        );
    }

    #[test]
    fn what_a_run_is_stays() {
        let refusal = |after: &str| {
            let error = changes("[run]\nseed = 1\n", &config(after));
            error.expect_err("a fixed key").to_string()
        };
        let message = refusal("[run]\nseed = 2\n[vae]\nkind = \"transformer\"\nwidth = 64\n");
        assert!(message.contains("run.seed was 1 and is 2"), "{message}");
        assert!(message.contains("vae.width was 768 and is 64"), "{message}");
        let message = refusal("[run]\nseed = 1\n[data.shapes]\nsize = 32\n");
        assert!(
            message.contains("data.shapes.size was not set and is 32"),
            "{message}"
        );
    }

    #[test]
    fn memory_for_videos_may_change_and_their_clips_stay() {
        let before = "[data.videos]\nframes = 4\n";
        let changed = config("[data.videos]\nframes = 4\nmax_memory_mib = 64\n");
        let changes = |after: &VaeRun| changes(before, after);
        let text = changes(&changed).expect("memory alone")[0].to_string();
        assert_eq!(text, "data.videos.max_memory_mib was 2048 and is 64");
        for (key, other) in [
            ("size", "frames = 4\nsize = 32\n"),
            ("frames", "frames = 8\n"),
            ("skip", "frames = 4\nskip = 2\n"),
        ] {
            let other = config(&format!("[data.videos]\n{other}"));
            let error = changes(&other).expect_err("other clips").to_string();
            assert!(error.contains(&format!("data.videos.{key} was")), "{error}");
        }
    }

    #[test]
    fn files_may_move_and_the_clips_of_them_stay() {
        let before = "[data.moving_mnist]\nimages = \"here\"\n";
        let moved = config("[data.moving_mnist]\nimages = \"there\"\n");
        assert_eq!(changes(before, &moved).expect("another place").len(), 1);
        for (other, key) in [
            ("[data]\nlabels = \"folders\"\n[data.videos]", "labels"),
            ("[data.moving_mnist]\ndigits = 3\n", "moving_mnist.digits"),
        ] {
            let before = if key == "labels" {
                "[data.videos]"
            } else {
                before
            };
            let error = changes(before, &config(other)).expect_err("other clips");
            assert!(
                error.to_string().contains(&format!("data.{key} was")),
                "{error}"
            );
        }
    }

    #[test]
    fn another_stage_is_no_earlier_configuration() {
        let error = changes("[transformer]\n", &config("")).expect_err("a diffusion stage");
        let cause = error.source().expect("a cause").to_string();
        assert!(cause.contains("`transformer`"), "{cause}");
    }
}
