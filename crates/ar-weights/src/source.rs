use std::path::Path;

/// Where weights are read from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum WeightsSource<'a> {
    /// A safetensors or PyTorch file. In the latter, the weights may be in an entry `state_dict` or
    /// `model_state_dict`.
    File(&'a Path),
    /// The bytes of a safetensors file, with the name to use in messages.
    Bytes(&'a str, &'a [u8]),
}

impl WeightsSource<'_> {
    /// The file, for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes(name, _) => (*name).to_owned(),
        }
    }
}
