use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The figures of one source.
#[derive(Debug)]
#[non_exhaustive]
pub struct Row {
    /// Its name.
    pub source: String,
    /// By the keys of all metrics; null if there is none.
    pub figures: Vec<(&'static str, Value)>,
}

impl Row {
    /// No figures yet.
    pub(crate) fn new(source: String, keys: impl Iterator<Item = &'static str>) -> Self {
        Self {
            source,
            figures: keys.map(|key| (key, Value::Null)).collect(),
        }
    }

    pub(crate) fn set(&mut self, key: &'static str, figure: Value) {
        let mut figures = self.figures.iter_mut();
        let (_, place) = figures
            .find(|(name, _)| *name == key)
            .expect("a metric sets its own keys");
        *place = figure;
    }

    /// A figure, if there is one of that type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let (_, figure) = self.figures.iter().find(|(name, _)| *name == key)?;
        T::deserialize(figure).ok()
    }

    /// A figure that is a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.get(key)
    }

    /// A distance as text.
    pub(crate) fn distance(&self, key: &str) -> Option<String> {
        self.number(key).map(|value| format!("{value:.1}"))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let source = Value::from(self.source.as_str());
        let figures = self.figures.iter().map(|(key, figure)| (*key, figure));
        serializer.collect_map([("source", &source)].into_iter().chain(figures))
    }
}
