#[cfg(feature = "flex")]
use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData};

#[cfg(feature = "flex")]
use ar_kernels::attention::HiddenKeys;

/// Which keys are hidden from which queries, in every sample and head, with or without autodiff.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mask {
    /// `[1, 1, queries, keys]`, `true` where hidden; without autodiff.
    hidden: Tensor<4, Bool>,
    /// The same on the host.
    #[cfg(feature = "flex")]
    on_host: Arc<HiddenKeys>,
}

impl Mask {
    /// The mask over groups of tokens with the same visibility: `queries` and `keys` are the sizes
    /// of the groups, in order; `visible(query group, key group)` is the rule. Every query must see
    /// at least one key.
    pub fn new(
        queries: &[usize],
        keys: &[usize],
        visible: impl Fn(usize, usize) -> bool,
        device: &Device,
    ) -> Self {
        let [rows, columns] = [queries, keys].map(|sizes| sizes.iter().sum::<usize>());
        let mut hidden = Vec::with_capacity(rows * columns);
        for (query, &size) in queries.iter().enumerate() {
            let mut row = Vec::with_capacity(columns);
            for (key, &size) in keys.iter().enumerate() {
                row.resize(row.len() + size, !visible(query, key));
            }
            for _ in 0..size {
                hidden.extend_from_slice(&row);
            }
        }
        Self {
            #[cfg(feature = "flex")]
            on_host: Arc::new(HiddenKeys::new(hidden.clone(), columns)),
            hidden: Tensor::from_data(
                TensorData::new(hidden, [1, 1, rows, columns]),
                &device.clone().without_autodiff(),
            ),
        }
    }

    /// `[1, 1, queries, keys]`, `true` where a key is hidden; without autodiff.
    pub fn hidden(&self) -> Tensor<4, Bool> {
        self.hidden.clone()
    }

    #[cfg(feature = "flex")]
    pub(super) fn on_host(&self) -> Arc<HiddenKeys> {
        Arc::clone(&self.on_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_tokens_see_alike() {
        let mask = Mask::new(&[1, 2], &[2, 1], |query, key| key <= query, &Device::flex());
        let hidden: Vec<bool> = mask.hidden().into_data().iter().collect();
        assert_eq!(
            hidden,
            [false, false, true, false, false, false, false, false, false]
        );
    }
}
