use burn::tensor::{Device, DeviceFilter, DeviceType};

use crate::found::Found;
use crate::panics;

/// A kind of device that was compiled in.
pub(crate) struct Backend {
    pub name: &'static str,
    description: &'static str,
    filter: fn() -> DeviceFilter,
}

/// The backends that were compiled in, in order of preference.
pub(crate) const BACKENDS: &[Backend] = &[
    #[cfg(feature = "cuda")]
    Backend {
        name: "cuda",
        description: "NVIDIA GPU through CUDA",
        filter: || DeviceType::Cuda.into(),
    },
    #[cfg(feature = "metal")]
    Backend {
        name: "metal",
        description: "Apple GPU through Metal",
        filter: || DeviceType::Metal.into(),
    },
    #[cfg(feature = "vulkan")]
    Backend {
        name: "vulkan",
        description: "GPU through Vulkan",
        filter: || DeviceType::Vulkan.into(),
    },
    #[cfg(feature = "wgpu")]
    Backend {
        name: "wgpu",
        description: "GPU through Vulkan, Metal, DirectX 12 or OpenGL",
        filter: || DeviceType::Wgpu.into(),
    },
    #[cfg(feature = "flex")]
    Backend {
        name: "cpu",
        description: "CPU, all cores (flex)",
        filter: || DeviceType::Flex.into(),
    },
    #[cfg(feature = "ndarray")]
    Backend {
        name: "ndarray",
        description: "CPU, all cores (ndarray)",
        filter: || DeviceType::NdArray.into(),
    },
];

impl Backend {
    /// Its devices on this machine, software last, or why they cannot be listed.
    pub(crate) fn devices(&self) -> Result<Vec<Found>, String> {
        let mut devices = panics::caught(|| Device::enumerate((self.filter)()).into_vec())?;
        devices.sort_by_key(is_software);
        let several = devices.len() > 1;
        let found = devices.into_iter().enumerate().map(|(index, device)| {
            let name = if several {
                format!("{}:{index}", self.name)
            } else {
                self.name.to_owned()
            };
            Found {
                name,
                description: self.description,
                is_software: is_software(&device),
                device,
            }
        });
        Ok(found.collect())
    }
}

/// Whether the graphics API says that this device is a CPU, as with software drivers.
#[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal"))]
fn is_software(device: &Device) -> bool {
    use burn::backend::{CubeDevice, DispatchDevice, WgpuDeviceKind};

    match device.as_dispatch() {
        DispatchDevice::Cube(CubeDevice::Wgpu(device)) => device.kind == WgpuDeviceKind::Cpu,
        _ => false,
    }
}

#[cfg(not(any(feature = "vulkan", feature = "wgpu", feature = "metal")))]
fn is_software(_: &Device) -> bool {
    false
}
