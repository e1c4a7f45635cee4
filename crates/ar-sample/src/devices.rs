//! `ar-sample devices`

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

/// Opens a device by name, and says which one `auto` is.
pub(crate) fn open_device(name: &str) -> anyhow::Result<(String, Device)> {
    let device = ar_device::open(name)?;
    let name = match name {
        "auto" => ar_device::available().swap_remove(0).name,
        name => name.to_owned(),
    };
    Ok((name, device))
}

fn describe() -> String {
    let devices = ar_device::available();
    let width = devices.iter().map(|found| found.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for (index, found) in devices.iter().enumerate() {
        let default = if index == 0 { " (default)" } else { "" };
        text += &format!("{:width$}  {}{default}\n", found.name, found.description);
    }
    if devices.is_empty() {
        text += "no device\n";
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
