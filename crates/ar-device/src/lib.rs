//! The devices that a build can compute on, by name.
//!
//! Backends are features of this crate; binaries and benches forward theirs to it, so that one
//! build can include several and the user chooses by name: `cpu`, `cuda`, `vulkan:1`.
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

mod backend;
mod details;
mod error;
mod found;
mod panics;

use burn::tensor::Device;

use crate::backend::BACKENDS;
pub use crate::details::Details;
pub use crate::error::DeviceError;
pub use crate::found::Found;
pub use crate::panics::caught;

/// Every device of this build and machine, the preferred ones first. None of them is opened.
pub fn available() -> Vec<Found> {
    BACKENDS
        .iter()
        .flat_map(|backend| backend.devices().unwrap_or_default())
        .collect()
}

/// The backends of this build that have no device on this machine, each with the reason.
pub fn missing() -> Vec<(&'static str, String)> {
    let reason = |backend: &backend::Backend| match backend.devices() {
        Ok(devices) if devices.is_empty() => Some("no such device".to_owned()),
        Ok(_) => None,
        Err(reason) => Some(reason),
    };
    let backends = BACKENDS.iter();
    backends
        .filter_map(|backend| Some((backend.name, reason(backend)?)))
        .collect()
}

/// The device called `name`, after it has been [tried out](Found::try_out): a name of
/// [`available`], or `auto` for the preferred one that works and is not
/// [software](Found::is_software). A name without `:index` means the first device of several.
///
/// # Errors
/// If there is no such device (the message lists the available ones), or it is unusable.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    Ok(find(name)?.device)
}

/// Like [`open`], with the device's name.
///
/// # Errors
/// As [`open`].
pub fn find(name: &str) -> Result<Found, DeviceError> {
    let devices = available();
    let unknown = || DeviceError::Unknown {
        name: name.to_owned(),
        available: match &devices[..] {
            [] => "none".to_owned(),
            devices => {
                let names: Vec<&str> = devices.iter().map(|found| &*found.name).collect();
                names.join(", ")
            }
        },
    };
    if name == "auto" {
        let mut hardware = devices.iter().filter(|found| !found.is_software);
        let working = hardware.find(|found| found.try_out().is_ok());
        return working.cloned().ok_or_else(unknown);
    }
    let first = format!("{name}:0");
    let found = devices
        .iter()
        .find(|found| found.name == name || found.name == first);
    let found = found.ok_or_else(unknown)?;
    found.try_out()?;
    Ok(found.clone())
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

    #[test]
    fn auto_is_never_software() -> Result<(), DeviceError> {
        assert!(!find("auto")?.is_software);
        Ok(())
    }

    #[test]
    fn a_device_that_works_has_details() -> Result<(), DeviceError> {
        let cpu = find("cpu")?;
        cpu.details()?;
        Ok(())
    }
}

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
