//! YUV4MPEG2 files that end early, whose last frame ffmpeg drops silently.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::VideoError;

/// The start of every file.
pub(super) const MAGIC: &[u8] = b"YUV4MPEG2 ";
/// The longest header of a file or a frame.
const HEADER: u64 = 1024;

/// Checks that the last frame is complete. Kinds that are not known here are left to ffmpeg.
///
/// # Errors
/// If the file ends within a frame, or cannot be read.
pub(super) fn check_end(path: &Path) -> Result<(), VideoError> {
    let io = |e| VideoError::io(path, e);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    if ends_in_frame(BufReader::new(file), length).map_err(io)? {
        Err(VideoError::decode(path, "the file ends within a frame"))
    } else {
        Ok(())
    }
}

fn ends_in_frame(mut stream: BufReader<impl Read + io::Seek>, length: u64) -> io::Result<bool> {
    let header = line(&mut stream)?;
    let Some(frame) = header.strip_suffix(b"\n").and_then(frame_bytes) else {
        return Ok(false);
    };
    let mut position = header.len() as u64;
    while position < length {
        let header = line(&mut stream)?;
        if !header.ends_with(b"\n") {
            return Ok(position + header.len() as u64 == length);
        }
        position += header.len() as u64 + frame;
        if position > length {
            return Ok(true);
        }
        stream.seek_relative(frame.cast_signed())?;
    }
    Ok(false)
}

fn line(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.by_ref().take(HEADER).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// The size of a frame, from the header of the file.
fn frame_bytes(header: &[u8]) -> Option<u64> {
    let header = std::str::from_utf8(header).ok()?;
    let (mut width, mut height, mut colours) = (None, None, "420");
    for field in header.split(' ').skip(1) {
        let (key, value) = field.split_at_checked(1)?;
        match key {
            "W" => width = value.parse::<u64>().ok(),
            "H" => height = value.parse::<u64>().ok(),
            "C" => colours = value,
            _ => {}
        }
    }
    let (width, height) = (width?, height?);
    let small = |n: u64, parts: u64| n.div_ceil(parts);
    // Samples of all planes.
    let (kind, depth) = match colours.split_once('p') {
        Some((kind, depth)) if depth.parse::<u8>().is_ok() => (kind, depth),
        _ => (colours, "8"),
    };
    let (chroma_width, chroma_height, planes) = match kind {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => (small(width, 2), small(height, 2), 1),
        "411" => (small(width, 4), height, 1),
        "422" => (small(width, 2), height, 1),
        "444" => (width, height, 1),
        "444alpha" => (width, height, 2),
        "mono" => (0, 0, 1),
        _ => return None,
    };
    let samples = width
        .checked_mul(height)?
        .checked_mul(planes)?
        .checked_add(chroma_width.checked_mul(chroma_height)?.checked_mul(2)?)?;
    let bytes = samples.checked_mul(if depth == "8" { 1 } else { 2 })?;
    // So that positions in a file do not overflow.
    (bytes < 1 << 40).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn is_cut(bytes: &[u8]) -> bool {
        ends_in_frame(BufReader::new(Cursor::new(bytes)), bytes.len() as u64).unwrap()
    }

    #[test]
    fn frames_have_the_size_of_their_planes() {
        for (colours, bytes) in [
            ("", Some(15 + 2 * 6)),
            (" C420jpeg", Some(15 + 2 * 6)),
            (" C420p10", Some(2 * (15 + 2 * 6))),
            (" C422", Some(15 + 2 * 9)),
            (" C411", Some(15 + 2 * 6)),
            (" C444", Some(45)),
            (" C444alpha", Some(60)),
            (" Cmono", Some(15)),
            (" Cmono16", None),
            (" Cx", None),
        ] {
            let header = format!("YUV4MPEG2 W5 H3 F25:1{colours}");
            assert_eq!(frame_bytes(header.as_bytes()), bytes, "{header}");
        }
        for header in [
            "YUV4MPEG2 W5",
            "YUV4MPEG2 W99999999999999999999 H1",
            "",
            "\u{e9}",
        ] {
            assert_eq!(frame_bytes(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn a_cut_in_a_frame_is_seen() {
        let frame = [&b"FRAME Ip\n"[..], &[7; 6]].concat();
        let file = [b"YUV4MPEG2 W2 H2\n", &frame[..], &frame].concat();
        for end in 0..=file.len() {
            let whole = [16, 16 + 15, 16 + 30].contains(&end);
            assert_eq!(is_cut(&file[..end]), end > 16 && !whole, "{end}");
        }
    }
}
