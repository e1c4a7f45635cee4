use burn::tensor::{Device, Tensor};

use crate::details::Details;
use crate::error::DeviceError;
use crate::panics;

/// A device that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name, as [`open`](crate::open) accepts it.
    pub name: String,
    /// The API through which it is used.
    pub description: &'static str,
    /// Whether the CPU emulates this GPU: slow, only for tests.
    pub is_software: bool,
    /// The device.
    pub device: Device,
}

impl Found {
    /// Opens the device, computes something on it and reads the result back, so that a broken
    /// driver fails here, before anything is loaded.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`] if that fails or the result is wrong.
    pub fn try_out(&self) -> Result<(), DeviceError> {
        let computed = panics::caught(|| {
            let sum = Tensor::<1>::ones([3], &self.device).sum();
            let sum = sum.try_into_scalar::<f32>();
            sum.map_err(|error| error.to_string())
        });
        let reason = match computed.and_then(|sum| sum) {
            Ok(3.0) => return Ok(()),
            Ok(sum) => format!("1 + 1 + 1 came out as {sum}"),
            Err(reason) => reason,
        };
        Err(DeviceError::Unusable {
            name: self.name.clone(),
            reason,
        })
    }

    /// Describes the hardware. Opens the device.
    ///
    /// # Errors
    /// [`DeviceError::Unusable`], as for [`Found::try_out`].
    pub fn details(&self) -> Result<Details, DeviceError> {
        self.try_out()?;
        Ok(Details::of(&self.device))
    }
}
