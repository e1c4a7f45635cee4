//! Devices and processes that share the clips of a step.

use std::ops::Range;
use std::rc::Rc;

use burn::tensor::Device;

use crate::config::ComputePrecision;
use crate::error::{ConfigError, ensure_config};
use crate::group::{Alone, Group};

/// The devices of this process and the group that it belongs to. Every process computes the same
/// number of clips in a step, and its devices share them.
#[derive(Clone)]
pub struct Workers {
    /// The devices, the one that holds the weights and the optimizer first.
    pub devices: Vec<Device>,
    /// The processes.
    pub group: Rc<dyn Group>,
}

impl Workers {
    /// One device of one process.
    pub fn alone(device: Device) -> Self {
        Self {
            devices: vec![device],
            group: Rc::new(Alone),
        }
    }

    /// The same, with devices that keep track of gradients.
    pub fn autodiff(&self) -> Self {
        Self {
            devices: self.devices.iter().cloned().map(Device::autodiff).collect(),
            group: self.group.clone(),
        }
    }

    /// Checks that all devices support `precision`.
    ///
    /// # Errors
    /// If one does not.
    pub fn check(&self, precision: ComputePrecision) -> Result<(), ConfigError> {
        let mut devices = self.devices.iter();
        let advice = match precision {
            ComputePrecision::Bf16Products => "\"bf16_products\" is for the CPU; use \"bf16\"",
            _ => "this device cannot compute in bf16; use \"f32\"",
        };
        ensure_config!(
            devices.all(|device| precision.is_supported(device)),
            ["precision"],
            "precision: {advice}"
        );
        Ok(())
    }

    /// The device that holds the weights and the optimizer.
    pub fn main_device(&self) -> &Device {
        &self.devices[0]
    }
}

/// Divides `clips` into `parts` runs, of which the first ones are longer by one if the division has
/// a remainder.
pub(crate) fn cut(clips: Range<usize>, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let (len, rest) = (clips.len() / parts, clips.len() % parts);
    (0..parts).map(move |part| {
        let start = clips.start + part * len + part.min(rest);
        start..start + len + usize::from(part < rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_by_one_clip_at_most() {
        let parts = |clips, count| cut(clips, count).collect::<Vec<_>>();
        assert_eq!(parts(4..12, 2), [4..8, 8..12]);
        assert_eq!(parts(0..8, 3), [0..3, 3..6, 6..8]);
        assert_eq!(parts(0..2, 3), [0..1, 1..2, 2..2]);
    }
}
