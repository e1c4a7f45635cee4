//! Recognises files that hold no weights by their first bytes.

/// How many bytes of a file [`other_content`] looks at.
pub(crate) const FIRST_BYTES: usize = 512;

/// First bytes of files that are often mistaken for weights, what the files are, and what to do.
const KNOWN: [(&[u8], &str); 15] = [
    (
        b"version https://git-lfs",
        "it is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`",
    ),
    (
        b"\x89PNG",
        "it is a picture (PNG): give the file of the weights",
    ),
    (
        b"\xff\xd8\xff",
        "it is a picture (JPEG): give the file of the weights",
    ),
    (
        b"GIF8",
        "it is a picture (GIF): give the file of the weights",
    ),
    (
        b"RIFF",
        "it is a video or a picture (RIFF): give the file of the weights",
    ),
    (
        b"\x1a\x45\xdf\xa3",
        "it is a video (Matroska): give the file of the weights",
    ),
    (
        b"%PDF",
        "it is a document (PDF): give the file of the weights",
    ),
    (b"\x1f\x8b", "it is packed with gzip: unpack it"),
    (b"BZh", "it is packed with bzip2: unpack it"),
    (b"\xfd7zXZ", "it is packed with xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd: unpack it"),
    (b"Rar!", "it is an archive (RAR): unpack it"),
    (
        b"\x89HDF",
        "it is a file of HDF5: give the file of the weights",
    ),
    (
        b"\x93NUMPY",
        "it is an array of NumPy: give the file of the weights",
    ),
    // Burn's own format, as in the checkpoints of runs.
    (
        b"NRUB",
        "it is a file of the checkpoint of a run: name the folder that it is in",
    ),
];

/// What a file that begins with `start` is, if it is known not to hold weights, and what to do.
pub(crate) fn other_content(start: &[u8]) -> Option<&'static str> {
    if start.is_empty() {
        return Some("it is empty: download or copy it again");
    }
    let known = KNOWN.iter().find(|(first, _)| start.starts_with(first));
    if let Some((_, what)) = known {
        return Some(what);
    }
    if start.get(4..8) == Some(b"ftyp") {
        return Some("it is a video (MP4): give the file of the weights");
    }
    let text = text(start)?.trim_start();
    let is_page = ["<!doctype", "<html"].iter().any(|tag| {
        let first = text.get(..tag.len());
        first.is_some_and(|first| first.eq_ignore_ascii_case(tag))
    });
    Some(if is_page {
        "it is a web page, as servers send instead of a file: download the file itself"
    } else {
        "it is text: give the file of the weights"
    })
}

/// `start` as text, if it is nothing else; its last character may be cut off.
fn text(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || c.is_ascii_whitespace();
    text.chars().all(is_text).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_weights_is_called_what_it_is() {
        for (start, what) in [
            (&b""[..], "it is empty"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture (PNG)"),
            (b"\0\0\0\x20ftypisom", "a video (MP4)"),
            (b"\n <!DOCTYPE html><html>", "a web page"),
            (b"<HTML>", "a web page"),
            (b"[run]\nsteps = 3\n", "it is text"),
            ("ein Käse".as_bytes(), "it is text"),
            // Cut within a character.
            (&"Käse".as_bytes()[..2], "it is text"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "`git lfs pull`",
            ),
            (b"NRUB\x01\0", "name the folder"),
        ] {
            let found = other_content(start).expect("known");
            assert!(found.contains(what), "{found}");
        }
        // The length of a header, and unknown bytes.
        for start in [&b"\x40\0\0\0\0\0\0\0{\"a"[..], b"\x01\x02\x03", b"\xff\xfe"] {
            assert_eq!(other_content(start), None, "{start:?}");
        }
    }
}
