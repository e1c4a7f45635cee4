use serde::ser::{Serialize, SerializeMap, Serializer};

/// The measurements of a step, in the order in which they are shown and written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scalars {
    pub(super) step: usize,
    pub(super) values: Vec<(String, f64)>,
}

impl Scalars {
    /// The step after which they were measured.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
    }

    /// The value of the measurement called `name`, such as `loss`.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.values.iter().find(|(known, _)| known == name);
        found.map(|&(_, value)| value)
    }
}

impl Serialize for Scalars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.values.len()))?;
        map.serialize_entry("step", &self.step)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
