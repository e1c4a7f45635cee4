use serde::Serialize;

/// The frames of a clip that FID looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FidFrames {
    /// Every frame.
    #[default]
    All,
    /// One frame of each clip: for clip number n, frame n modulo the number of frames, so that all
    /// positions are used equally.
    One,
}
