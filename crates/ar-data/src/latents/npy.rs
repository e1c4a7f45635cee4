//! Latents as the reference implementation stores them: one `.npy` file per clip, with the
//! unnormalised posterior mean `[frames, channels, 1, tokens]`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ar_weights::Fault;
use half::f16;

use super::LatentItem;

const MAGIC: &[u8] = b"\x93NUMPY";
/// The largest file that is read; a clip of the published size has 8 KiB.
const LIMIT: u64 = 1 << 28;

/// A file that does not contain the latents of a clip.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is damaged, or not an `.npy` file.
    #[error("not an NPY file, or damaged")]
    Format,
    /// It is larger than any clip.
    #[error("the file has more than {} MiB; one holds the latents of one clip", LIMIT >> 20)]
    TooLarge,
    /// The numbers have another type.
    #[error("the numbers are of the type {0}, but have to be little-endian floats in C order")]
    Type(String),
    /// The array does not have the shape of a clip.
    #[error("the shape is {0:?}, but has to be [frames, channels, 1, tokens] without a zero")]
    Shape(Vec<usize>),
    /// Latents that no network computes with.
    #[error("it holds {0}; encode the clip again")]
    Broken(Fault),
}

/// The `.npy` files in and below a folder, in the order of their paths.
pub(super) fn find(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            // Links to folders are not followed, because they may form a cycle.
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "npy") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the latents of a clip and puts each token on the unit sphere, where diffusion expects it.
pub(super) fn read(path: &Path) -> Result<LatentItem, NpyError> {
    // Opening a pipe that nobody writes to would never return.
    if !fs::metadata(path)?.is_file() {
        return Err(NpyError::Format);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(NpyError::TooLarge);
    }
    let (header, data) = split(&bytes).ok_or(NpyError::Format)?;
    let values = values(header, data)?;
    let shape = shape(header).ok_or(NpyError::Format)?;
    let [frames, channels, 1, tokens] = shape[..] else {
        return Err(NpyError::Shape(shape));
    };
    let product = shape
        .iter()
        .try_fold(1_usize, |n, &axis| n.checked_mul(axis));
    if product == Some(0) {
        return Err(NpyError::Shape(shape));
    }
    if product != Some(values.len()) {
        return Err(NpyError::Format);
    }
    if let Some(fault) = values.iter().find_map(|&value| Fault::of_value(value)) {
        return Err(NpyError::Broken(fault));
    }

    let mut latents = Vec::with_capacity(values.len());
    for frame in values.chunks_exact(channels * tokens) {
        for token in 0..tokens {
            let token = frame[token..].iter().step_by(tokens);
            let norm = token.clone().map(|x| x * x).sum::<f32>().sqrt();
            latents.extend(token.map(|x| x / norm.max(1e-12)));
        }
    }
    Ok(LatentItem {
        latents,
        shape: [frames, tokens, channels],
        label: None,
    })
}

/// The header, which is the text of a Python dictionary, and the data.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_at_checked(2)?;
    let (length, rest) = match version {
        [1, _] => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        [2 | 3, _] => {
            let (length, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((str::from_utf8(header).ok()?, data))
}

/// The text after a key in the header.
fn value_of<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    Some(rest.trim_start())
}

fn shape(header: &str) -> Option<Vec<usize>> {
    let (list, _) = value_of(header, "shape")?
        .strip_prefix('(')?
        .split_once(')')?;
    let axes = list
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty());
    axes.map(|axis| axis.parse().ok()).collect()
}

fn values(header: &str, data: &[u8]) -> Result<Vec<f32>, NpyError> {
    let descr = value_of(header, "descr").ok_or(NpyError::Format)?;
    let order = value_of(header, "fortran_order").ok_or(NpyError::Format)?;
    let descr = descr.split(',').next().unwrap_or_default();
    let refuse = |order: &str| NpyError::Type(format!("{descr}{order}"));
    if !order.starts_with("False") {
        return Err(refuse(" in Fortran order"));
    }
    /// The values of all chunks, or None if the last one is incomplete.
    fn all<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Option<Vec<f32>> {
        let (chunks, []) = data.as_chunks::<N>() else {
            return None;
        };
        Some(chunks.iter().map(|&bytes| value(bytes)).collect())
    }
    let values = match descr.trim_matches('\'') {
        "<f2" => all(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        "<f4" => all(data, f32::from_le_bytes),
        "<f8" => all(data, |bytes| f64::from_le_bytes(bytes) as f32),
        _ => return Err(refuse("")),
    };
    values.ok_or(NpyError::Format)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file as `numpy.save` writes it: version 1, padded to 64 bytes with a line end.
    pub(crate) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let padded = (10 + header.len() + 1).next_multiple_of(64) - 11;
        let header = format!("{header:<padded$}\n");
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    fn read_bytes(bytes: &[u8]) -> Result<LatentItem, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        fs::write(&path, bytes).unwrap();
        read(&path).map_err(|error| error.to_string())
    }

    /// Two frames, two channels, three tokens; (3, 4) has the norm 5.
    const VALUES: [f32; 12] = [3., 0., 6., 4., 2., 8., -3., 1., 0., 4., 0., 0.];
    const SHAPE: &str = "(2, 2, 1, 3)";

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_read() {
        assert!(matches!(
            read(Path::new("/dev/zero")),
            Err(NpyError::Format)
        ));
    }

    #[test]
    fn channels_move_last_and_tokens_onto_the_unit_sphere() {
        let expected = [
            [0.6, 0.8],
            [0.0, 1.0],
            [0.6, 0.8],
            [-0.6, 0.8],
            [1.0, 0.0],
            [0.0, 0.0],
        ];
        let half: Vec<u8> = VALUES
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect();
        let single: Vec<u8> = VALUES.iter().flat_map(|x| x.to_le_bytes()).collect();
        let double: Vec<u8> = VALUES
            .iter()
            .flat_map(|&x| f64::from(x).to_le_bytes())
            .collect();
        for (descr, data) in [("<f2", half), ("<f4", single), ("<f8", double)] {
            let item = read_bytes(&npy(descr, SHAPE, &data)).unwrap();
            assert_eq!(item.shape, [2, 3, 2]);
            for (actual, expected) in item.latents.iter().zip(expected.as_flattened()) {
                assert!(
                    (actual - expected).abs() < 1e-7,
                    "{descr}: {:?}",
                    item.latents
                );
            }
        }
    }

    #[test]
    fn other_arrays_are_errors() {
        let data = [0; 48];
        let error = |bytes: &[u8]| read_bytes(bytes).unwrap_err();
        for shape in ["(2, 6)", "(2, 2, 3, 1)", "(0, 2, 1, 3)", "()"] {
            let message = error(&npy("<f4", shape, &data));
            assert!(
                message.contains("[frames, channels, 1, tokens]"),
                "{shape}: {message}"
            );
        }
        for descr in ["<i4", ">f4", "|O"] {
            let message = error(&npy(descr, SHAPE, &data));
            assert!(message.contains(descr), "{message}");
        }
        let huge = "(18446744073709551615, 2, 1, 3)";
        assert_eq!(
            error(&npy("<f4", huge, &data)),
            "not an NPY file, or damaged"
        );
        let nan = [f32::NAN.to_le_bytes(); 12].concat();
        assert!(error(&npy("<f4", SHAPE, &nan)).contains("NaN"));
        let fortran = npy("<f4", SHAPE, &data);
        let text = String::from_utf8_lossy(&fortran[10..]).replace("False", "True ");
        let fortran = [&fortran[..10], text.as_bytes()].concat();
        assert!(error(&fortran).contains("Fortran"));
    }

    #[test]
    fn truncated_files_are_errors() {
        let whole = npy("<f4", SHAPE, &[0; 48]);
        for end in 0..whole.len() {
            assert_eq!(
                read_bytes(&whole[..end]).unwrap_err(),
                "not an NPY file, or damaged",
                "{end}"
            );
        }
    }
}
