//! `ar-sample devices`

use ar_device::{Details, Found};
use burn::tensor::Device;

/// Features that add devices, and whether this build has them.
const FEATURES: [(&str, bool); 6] = [
    ("cuda", cfg!(feature = "cuda")),
    ("vulkan", cfg!(feature = "vulkan")),
    ("wgpu", cfg!(feature = "wgpu")),
    ("metal", cfg!(feature = "metal")),
    ("flex", cfg!(feature = "flex")),
    ("ndarray", cfg!(feature = "ndarray")),
];

/// Lists the devices of this build and machine.
pub(crate) fn run() -> anyhow::Result<()> {
    Ok(ar_cli::print(&describe())?)
}

/// Opens a device by name, and returns which one `auto` is.
pub(crate) fn open_device(name: &str) -> anyhow::Result<(String, Device)> {
    let found = ar_device::find(name)?;
    Ok((found.name, found.device))
}

fn describe() -> String {
    let devices = ar_device::available();
    let width = devices.iter().map(|found| found.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    // `auto` is the first one that works and is not software.
    let mut has_default = false;
    for found in &devices {
        let details = found.details();
        let is_default = !has_default && !found.is_software && details.is_ok();
        has_default |= is_default;
        let default = if is_default { " (default)" } else { "" };
        let about = match details {
            Ok(details) => about(found, &details),
            Err(error) => format!("{}: {error}", found.description),
        };
        text += &format!("{:width$}  {about}{default}\n", found.name);
    }
    if devices.is_empty() {
        text += "no device\n";
    }
    for (backend, reason) in ar_device::missing() {
        text += &format!("{backend:width$}  none: {reason}\n");
    }
    let missing: Vec<&str> = FEATURES
        .into_iter()
        .filter_map(|(name, built_in)| (!built_in).then_some(name))
        .collect();
    if !missing.is_empty() {
        text += &format!(
            "not built in: {} (build with `--features NAME` to add one)\n",
            missing.join(", ")
        );
    }
    text
}

/// The API and the hardware of a device.
fn about(found: &Found, details: &Details) -> String {
    let mut about = vec![found.description.to_owned()];
    about.extend(details.hardware.clone());
    let gibibytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    about.extend(details.memory_bytes.map(gibibytes));
    about.extend(details.driver.clone());
    if found.is_software {
        about.push("software: slow, chosen only by name".to_owned());
    }
    about.join(", ")
}
