//! Files that appear complete or not at all.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use tempfile::{Builder, NamedTempFile};

/// Writes `bytes` to a temporary sibling and moves it to `path`. Missing folders above are made.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = create(path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        anyhow::Ok(())
    };
    write().with_context(|| format!("{}: cannot write", path.display()))
}

/// Fails where [`write_atomically`] would fail right away.
pub fn check_writable(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        bail!("{}: this is a folder, not a file", path.display());
    }
    create(path).with_context(|| format!("{}: cannot write", path.display()))?;
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut builder = Builder::new();
    builder.prefix(".ar-sample-");
    // Temporary files are private by default; this one gets the usual permissions, less the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    Ok(builder.tempfile_in(folder)?)
}
