//! `ar-sample devices`.

use super::Folder;

#[test]
fn devices_are_listed() {
    let devices = Folder::new().ok("devices");
    assert!(
        devices
            .lines()
            .next()
            .expect("a line")
            .ends_with("(default)"),
        "{devices}"
    );
    assert!(devices.contains("cpu "), "{devices}");
    for name in ["cuda", "vulkan", "wgpu", "metal"] {
        assert!(devices.contains(name), "{devices}");
    }
}
