use serde::Serialize;

/// Which clips of the data are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReferenceSplit {
    /// The validation clips, in order, which the model has never seen.
    #[default]
    Validation,
    /// The training clips in an order that the seed determines, as for published figures: all clips of the data, unless
    /// the configuration sets some aside for validation.
    Training,
}
