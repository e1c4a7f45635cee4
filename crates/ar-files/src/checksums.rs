//! Checksums of files that are written to be read back.
//!
//! A list is a text file with a line for each file (CRC-32C, size and name), below a line with the
//! checksum of those lines. `checksums.txt` is the list of the folder that it is in;
//! `NAME.checksum` beside a file is a list of only that file.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crc32c::{crc32c, crc32c_append};

use crate::read::check_regular;
use crate::write_atomically;

/// File name of the list of a folder.
pub const CHECKSUMS: &str = "checksums.txt";

/// The longest list that is read.
const MOST_BYTES: u64 = 16 << 20;

/// Whether files that are read back are intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Integrity {
    /// They are exactly as they were written.
    Verified,
    /// There are no checksums: an older version or another program wrote the files.
    Unknown,
}

impl Integrity {
    fn of(verified: Option<usize>) -> Self {
        verified.map_or(Self::Unknown, |_| Self::Verified)
    }
}

/// Checksum and size of a file.
///
/// # Errors
/// If it cannot be read, or is a pipe or a device.
pub fn checksum(path: impl AsRef<Path>) -> io::Result<(u32, u64)> {
    let path = path.as_ref();
    check_regular(path)?;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 18];
    let (mut sum, mut size) = (0, 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((sum, size)),
            read => {
                sum = crc32c_append(sum, &buffer[..read]);
                size += read as u64;
            }
        }
    }
}

/// Writes a list of the files in and below `folder` into it.
///
/// # Errors
/// If one cannot be read, or the list cannot be written.
pub fn seal_folder(folder: impl AsRef<Path>) -> io::Result<()> {
    let folder = folder.as_ref();
    let mut names = Vec::new();
    add_names(folder, "", &mut names)?;
    names.retain(|name| name != CHECKSUMS);
    names.sort();
    write_list(&folder.join(CHECKSUMS), folder, &names)
}

/// Checks the files of `folder` that are in its list.
///
/// # Errors
/// If one is missing, damaged (the message names it), or cannot be read.
pub fn verify_folder(folder: impl AsRef<Path>) -> io::Result<Integrity> {
    let folder = folder.as_ref();
    verify_list(&folder.join(CHECKSUMS), folder, |_| true).map(Integrity::of)
}

/// Checks one file of `folder`, if it is in the list.
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_in_folder(folder: impl AsRef<Path>, name: &str) -> io::Result<Integrity> {
    let folder = folder.as_ref();
    let verified = verify_list(&folder.join(CHECKSUMS), folder, |listed| listed == name)?;
    Ok(Integrity::of(verified.filter(|&files| files > 0)))
}

/// Writes `bytes` to `path`, and their checksum beside it.
///
/// # Errors
/// If they cannot be written.
pub fn write_sealed(path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    let name = name(path)?;
    // Written first, because a file without a checksum would look like one from an older version.
    let list = list(&line(crc32c(bytes), bytes.len() as u64, &name));
    write_atomically(list_of_file(path), list.as_bytes())?;
    write_atomically(path, bytes)
}

/// Checks a file against the checksum beside it.
///
/// # Errors
/// If it is damaged, the checksum belongs to another file, or they cannot be read.
pub fn verify_file(path: impl AsRef<Path>) -> io::Result<Integrity> {
    let path = path.as_ref();
    let (name, list) = (name(path)?, list_of_file(path));
    let folder = path.parent().unwrap_or(Path::new(""));
    match verify_list(&list, folder, |listed| listed == name)? {
        Some(0) => Err(damaged(format!("{name}.checksum belongs to another file"))),
        verified => Ok(Integrity::of(verified)),
    }
}

/// The list of one file.
fn list_of_file(path: &Path) -> PathBuf {
    let mut name: OsString = path.file_name().unwrap_or_default().to_owned();
    name.push(".checksum");
    path.with_file_name(name)
}

fn name(path: &Path) -> io::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| !name.contains('\n'));
    name.map(str::to_owned)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidFilename, "the name is not text"))
}

/// Adds the names of the files in and below `folder`, whose own name is `above`.
fn add_names(folder: &Path, above: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{above}{}", name(&entry.path())?);
        if entry.file_type()?.is_dir() {
            add_names(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

fn line(sum: u32, size: u64, name: &str) -> String {
    format!("{sum:08x} {size} {name}\n")
}

/// A list with the checksum of its lines.
fn list(lines: &str) -> String {
    format!("checksums {:08x}\n{lines}", crc32c(lines.as_bytes()))
}

fn write_list(path: &Path, folder: &Path, names: &[String]) -> io::Result<()> {
    let mut lines = String::new();
    for name in names {
        let (sum, size) = checksum(folder.join(name))?;
        let _ = lines.write_str(&line(sum, size, name));
    }
    write_atomically(path, list(&lines).as_bytes())
}

/// Checks the files of a list that are `wanted`, and returns how many there are, if there is a
/// list.
fn verify_list(
    path: &Path,
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Option<usize>> {
    let bytes = match crate::read(path, MOST_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let list_name = path.file_name().unwrap_or_default().display();
    let is_damaged = || damaged(format!("{list_name} is damaged"));
    let text = String::from_utf8(bytes).map_err(|_| is_damaged())?;
    let (_, lines) = text.split_once('\n').ok_or_else(is_damaged)?;
    if text != list(lines) {
        return Err(is_damaged());
    }
    let mut verified = 0;
    for line in lines.lines() {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().ok_or_else(is_damaged);
        let expected_sum = u32::from_str_radix(word()?, 16).map_err(|_| is_damaged())?;
        let expected_size: u64 = word()?.parse().map_err(|_| is_damaged())?;
        let name = word()?;
        if !wanted(name) {
            continue;
        }
        let file = folder.join(name);
        let (sum, size) = checksum(&file)
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        if (sum, size) != (expected_sum, expected_size) {
            let what = if size == expected_size {
                format!("its checksum is {sum:08x} and was {expected_sum:08x}")
            } else {
                format!("it has {size} bytes and had {expected_size}")
            };
            return Err(damaged(format!("{name} is not as it was written: {what}")));
        }
        verified += 1;
    }
    Ok(Some(verified))
}

fn damaged(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flips every bit of a file in turn; `check` has to fail each time.
    fn flip_all(path: &Path, check: impl Fn() -> io::Result<Integrity>) {
        let whole = fs::read(path).expect("the file");
        for bit in 0..8 * whole.len() {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(path, &damaged).expect("written");
            assert!(check().is_err(), "bit {bit} of {}", path.display());
        }
        fs::write(path, &whole).expect("written");
        assert_eq!(check().expect("whole again"), Integrity::Verified);
    }

    #[test]
    fn any_bit_of_a_folder_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("below")).expect("a folder");
        for (name, text) in [("a.toml", "step = 5\n"), ("below/b", "weights"), ("c", "")] {
            fs::write(path(name), text).expect("a file");
        }
        let verify = || verify_folder(folder.path());
        assert_eq!(verify().expect("an older one"), Integrity::Unknown);
        seal_folder(folder.path()).expect("sealed");
        assert_eq!(verify().expect("whole"), Integrity::Verified);
        for name in ["a.toml", "below/b", CHECKSUMS] {
            flip_all(&path(name), verify);
        }
        for cut in [0, 3] {
            fs::write(path("below/b"), &b"weights"[..cut]).expect("written");
            let error = verify().expect_err("a cut file").to_string();
            assert!(
                error.contains("below/b is not as it was written"),
                "{error}"
            );
        }
        fs::remove_file(path("below/b")).expect("removed");
        let error = verify().expect_err("a missing file").to_string();
        assert!(error.contains("below/b"), "{error}");
        assert!(verify_in_folder(folder.path(), "a.toml").is_ok());
        assert!(verify_in_folder(folder.path(), "below/b").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn what_has_no_end_has_no_checksum() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weights");
        write_sealed(&path, b"some").expect("written");
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        assert!(verify_file(&path).is_err());
    }

    #[test]
    fn any_bit_of_a_file_counts_and_exchanged_files_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        write_sealed(&a, b"some").expect("written");
        write_sealed(&b, b"other").expect("written");
        for path in [a.clone(), list_of_file(&a)] {
            flip_all(&path, || verify_file(&a));
        }
        let exchange = |a: &Path, b: &Path| {
            let aside = folder.path().join("aside");
            fs::rename(a, &aside).expect("moved");
            fs::rename(b, a).expect("moved");
            fs::rename(&aside, b).expect("moved");
        };
        exchange(&a, &b);
        assert!(verify_file(&a).is_err() && verify_file(&b).is_err());
        exchange(&list_of_file(&a), &list_of_file(&b));
        assert!(verify_file(&a).is_err() && verify_file(&b).is_err());
    }
}
