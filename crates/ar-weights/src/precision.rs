use crate::floats::Floats;

/// Floating-point format of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits.
    #[default]
    Full,
    /// 16 bits: half the size, for distribution.
    Half,
}

impl Precision {
    pub(crate) fn floats(self) -> Floats {
        match self {
            Self::Full => Floats::F32,
            Self::Half => Floats::F16,
        }
    }
}
