use serde::Serialize;

/// Which clips of the data are measured against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReferenceSplit {
    /// The validation clips, in order: clips that the model never saw.
    #[default]
    Validation,
    /// The training clips in an order that the seed decides, as published figures are measured.
    Training,
}
