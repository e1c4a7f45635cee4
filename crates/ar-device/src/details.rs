use burn::tensor::Device;

/// The hardware of a device, as far as its driver and the system report it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The name of the hardware.
    pub hardware: Option<String>,
    /// Its own memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// The driver and its version.
    pub driver: Option<String>,
}

#[cfg(not(any(
    feature = "cuda",
    feature = "vulkan",
    feature = "wgpu",
    feature = "metal"
)))]
impl Details {
    /// Nothing: the name of the processor says it all.
    pub fn of(_: &Device) -> Self {
        Self::default()
    }
}

#[cfg(any(
    feature = "cuda",
    feature = "vulkan",
    feature = "wgpu",
    feature = "metal"
))]
impl Details {
    /// The details of a device that works.
    pub fn of(device: &Device) -> Self {
        let Some(identity) = device.identity() else {
            return Self::default();
        };
        let address = identity.physical.and_then(|card| card.pci_address);
        let address = address.map(|address| address.to_string());
        let mut details = Self {
            hardware: Some(identity.name),
            ..Self::default()
        };
        if let Some(address) = &address {
            details.ask_nvidia(address);
            details.ask_linux(address);
        }
        #[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal"))]
        details.ask_graphics_api();
        details
    }

    /// Memory and driver of an NVIDIA card, from NVIDIA's library.
    fn ask_nvidia(&mut self, address: &str) {
        let Ok(nvml) = nvml_wrapper::Nvml::init() else {
            return;
        };
        let Ok(card) = nvml.device_by_pci_bus_id(address) else {
            return;
        };
        self.memory_bytes = card.memory_info().ok().map(|memory| memory.total);
        let driver = nvml.sys_driver_version().ok();
        self.driver = driver.map(|version| format!("NVIDIA {version}"));
    }

    /// Memory of an AMD card, from Linux.
    fn ask_linux(&mut self, address: &str) {
        let file = format!("/sys/bus/pci/devices/{address}/mem_info_vram_total");
        if self.memory_bytes.is_none()
            && let Ok(bytes) = std::fs::read_to_string(file)
        {
            self.memory_bytes = bytes.trim().parse().ok();
        }
    }

    /// The driver, from the graphics API that lists the adapter.
    #[cfg(any(feature = "vulkan", feature = "wgpu", feature = "metal"))]
    fn ask_graphics_api(&mut self) {
        use std::future::Future;
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};

        use burn::tensor::wgpu::wgpu;

        if self.driver.is_some() {
            return;
        }
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        // On native platforms, the list is available at once.
        let adapters = pin!(instance.enumerate_adapters(wgpu::Backends::all()));
        let Poll::Ready(adapters) = adapters.poll(&mut Context::from_waker(Waker::noop())) else {
            return;
        };
        let mut infos = adapters.iter().map(wgpu::Adapter::get_info);
        let info = infos.find(|info| Some(&info.name) == self.hardware.as_ref());
        self.driver = info.map(|info| {
            let driver = format!("{} {}", info.driver, info.driver_info);
            format!("{} ({})", driver.trim(), info.backend)
        });
    }
}
