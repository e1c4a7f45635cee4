//! The devices that a build can compute on, by name.
//!
//! Backends are features of this crate; binaries and benches forward theirs to it, so that one
//! build can hold several and a user chooses by name: `cpu`, `cuda`, `vulkan:1`.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! let device = ar_device::open("cpu")?;
//! assert!(ar_device::available().iter().any(|found| found.name == "cpu"));
//! # let _ = device;
//! # }
//! # Ok::<(), ar_device::DeviceError>(())
//! ```
#![warn(missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, DeviceFilter};

/// A kind of device that was compiled in.
struct Backend {
    name: &'static str,
    description: &'static str,
    filter: fn() -> DeviceFilter,
}

/// What was compiled in, in order of preference.
const BACKENDS: &[Backend] = &[
    #[cfg(feature = "cuda")]
    Backend {
        name: "cuda",
        description: "NVIDIA GPU through CUDA",
        filter: || burn::tensor::DeviceType::Cuda.into(),
    },
    #[cfg(feature = "metal")]
    Backend {
        name: "metal",
        description: "Apple GPU through Metal",
        filter: || burn::tensor::DeviceType::Metal.into(),
    },
    #[cfg(feature = "vulkan")]
    Backend {
        name: "vulkan",
        description: "GPU through Vulkan",
        filter: || burn::tensor::DeviceType::Vulkan.into(),
    },
    #[cfg(feature = "wgpu")]
    Backend {
        name: "wgpu",
        description: "GPU through WebGPU",
        filter: || burn::tensor::DeviceType::WebGpu.into(),
    },
    #[cfg(feature = "flex")]
    Backend {
        name: "cpu",
        description: "CPU, all cores (flex)",
        filter: || burn::tensor::DeviceType::Flex.into(),
    },
    #[cfg(feature = "ndarray")]
    Backend {
        name: "ndarray",
        description: "CPU, all cores (ndarray)",
        filter: || burn::tensor::DeviceType::NdArray.into(),
    },
];

/// A device that is there.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name, as [`open`] takes it.
    pub name: String,
    /// What it is.
    pub description: String,
    /// The device.
    pub device: Device,
}

/// A device name that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// This build and machine have no device of that name.
    #[error(
        "device '{name}' is not available: this build and machine have {available}; build with \
         `--features cuda`, `vulkan`, `wgpu` or `metal` for GPUs"
    )]
    Unknown {
        /// The name given.
        name: String,
        /// The names there are.
        available: String,
    },
}

/// Every device of this build and machine, the preferred first.
pub fn available() -> Vec<Found> {
    BACKENDS.iter().flat_map(Backend::devices).collect()
}

/// The device called `name`: a name of [`available`], or `auto` for the preferred one. The first
/// of several is meant where a name comes without `:index`.
///
/// # Errors
/// If there is no such device; the message names those there are.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let wanted = BACKENDS
        .iter()
        .filter(|backend| name == "auto" || name.split(':').next() == Some(backend.name));
    wanted
        .flat_map(Backend::devices)
        .find(|found| name == "auto" || found.name == name || found.name == format!("{name}:0"))
        .map(|found| found.device)
        .ok_or_else(|| DeviceError::Unknown {
            name: name.to_owned(),
            available: available()
                .into_iter()
                .map(|found| found.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

impl Backend {
    fn devices(&self) -> Vec<Found> {
        // Drivers that are not installed make some backends panic rather than find nothing.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let devices = catch_unwind(AssertUnwindSafe(|| {
            Device::enumerate((self.filter)()).into_vec()
        }))
        .unwrap_or_default();
        std::panic::set_hook(hook);

        let several = devices.len() > 1;
        devices
            .into_iter()
            .enumerate()
            .map(|(index, device)| Found {
                name: if several {
                    format!("{}:{index}", self.name)
                } else {
                    self.name.to_owned()
                },
                description: self.description.to_owned(),
                device,
            })
            .collect()
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_device_names_those_there_are() {
        let error = open("tpu").expect_err("no such device").to_string();
        assert!(error.contains("'tpu'") && error.contains("cpu"), "{error}");
        assert!(open("cpu").is_ok());
        assert!(open("cpu:0").is_err() || available().len() > 1);
    }
}

/// The examples of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
