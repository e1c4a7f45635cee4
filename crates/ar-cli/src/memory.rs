//! The memory of a process and of the machine, in bytes, as Linux reports it. There are no figures
//! on other systems.

use std::fs;

/// The memory that this process holds now.
pub fn resident() -> Option<u64> {
    bytes("/proc/self/status", "VmRSS")
}

/// The most memory that this process has held at once.
pub fn peak() -> Option<u64> {
    bytes("/proc/self/status", "VmHWM")
}

/// The most memory that another process has held at once, while it runs.
pub fn peak_of(process: u32) -> Option<u64> {
    bytes(&format!("/proc/{process}/status"), "VmHWM")
}

/// The memory that the code of this process takes.
pub(crate) fn code() -> Option<u64> {
    let of = |name| bytes("/proc/self/status", name);
    Some(of("VmExe")? + of("VmLib")?)
}

/// The limit on the memory of this process (`ulimit -v`), if there is one.
pub(crate) fn limit() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: it only writes the limit.
        let found = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } == 0;
        (found && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Resets [`peak`] to the memory that the process holds now. If that is not possible, the peak
/// stays as it was.
pub fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The memory of the machine that is free for programs.
pub fn available() -> Option<u64> {
    bytes("/proc/meminfo", "MemAvailable")
}

/// The figure in a line `NAME: 123 kB`.
fn bytes(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_says_how_much_memory_there_is() {
        let [resident, peak] = [resident(), peak()].map(|bytes| bytes.expect("a figure"));
        assert!(resident > 1 << 16 && peak >= resident, "{resident} {peak}");
        assert!(peak_of(std::process::id()).expect("a figure") >= peak);
        assert!(available().expect("a figure") > 1 << 20);
        assert_eq!(bytes("/proc/meminfo", "NoSuchLine"), None);
    }

    #[test]
    fn the_peak_can_be_reset() {
        let block = vec![1u8; 64 << 20];
        let before = peak().expect("a figure");
        assert_eq!(
            block.iter().map(|&byte| usize::from(byte)).sum::<usize>(),
            64 << 20
        );
        drop(block);
        reset_peak();
        let after = peak().expect("a figure");
        assert!(after < before, "{after} {before}");
    }
}
