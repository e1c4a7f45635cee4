use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;

/// A cache of values that were uploaded to a device, since uploading a table to a GPU takes longer than using it.
/// Clones share it.
///
/// Nothing is dropped before the last clone, because recordings of an evaluation read the values in place. There are
/// few keys, such as the numbers of frames that a network is evaluated with.
#[derive(Debug)]
pub(crate) struct OnDevice<K, T>(Arc<Mutex<Vec<(Device, K, T)>>>);

impl<K, T> Clone for OnDevice<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, T> Default for OnDevice<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: PartialEq, T: Clone> OnDevice<K, T> {
    /// The value for `key` on `device`, which is made at the first request.
    pub(crate) fn get(&self, device: &Device, key: K, make: impl FnOnce() -> T) -> T {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Devices with and without autodiff compare as equal.
        let found = known.iter().find(|(of, of_key, _)| {
            of == device && of.is_autodiff() == device.is_autodiff() && *of_key == key
        });
        if let Some((.., value)) = found {
            return value.clone();
        }
        let value = make();
        known.push((device.clone(), key, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_once_for_a_device_and_a_key() {
        let tables = OnDevice::default();
        let device = Device::flex();
        let mut made = 0;
        let mut get = |device: &Device, key: usize| {
            tables.clone().get(device, key, || {
                made += 1;
                10 * key
            })
        };
        assert_eq!([3, 4, 3].map(|key| get(&device, key)), [30, 40, 30]);
        get(&device.clone().autodiff(), 4);
        assert_eq!(made, 3);
    }
}
