//! Consecutive PAM pictures, as ffmpeg's `image2pipe` sends them, each with its own size.

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::blend::over_black;
use super::frames::checked_size;
use crate::{Frame, VideoError};

/// The longest header.
const HEADER: u64 = 256;

/// The next picture, or `None` if the stream ends between two pictures. Transparent pixels are
/// blended over black.
pub(super) fn read(stream: &mut impl BufRead, path: &Path) -> Result<Option<Frame>, VideoError> {
    let io = |e| VideoError::io(path, e);
    if stream.fill_buf().map_err(io)?.is_empty() {
        return Ok(None);
    }
    let Header {
        width,
        height,
        depth,
    } = header(stream).map_err(io)?.ok_or_else(|| {
        VideoError::decode(
            path,
            "the frames from ffmpeg are not PAM pictures of 8 bits",
        )
    })?;
    let (width, height) = checked_size(path, width, height)?;
    let mut pixels = vec![0; width * height * depth];
    stream.read_exact(&mut pixels).map_err(io)?;
    let rgb = match depth {
        3 => pixels,
        _ => over_black(&pixels),
    };
    Ok(Some(Frame::new(width, height, rgb)))
}

struct Header {
    width: u64,
    height: u64,
    /// Bytes per pixel: 3, or 4 with alpha.
    depth: usize,
}

/// The lines up to `ENDHDR`; nothing if they are of another kind.
fn header(stream: &mut impl BufRead) -> io::Result<Option<Header>> {
    let mut left = HEADER;
    let mut line = || {
        let mut bytes = Vec::new();
        left -= stream.by_ref().take(left).read_until(b'\n', &mut bytes)? as u64;
        match bytes.pop() {
            Some(b'\n') => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            _ if left == 0 => Ok(String::new()),
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    };
    if line()? != "P7" {
        return Ok(None);
    }
    let [mut width, mut height, mut depth, mut max] = [None; 4];
    loop {
        let line = line()?;
        if line == "ENDHDR" {
            break;
        }
        let Some((key, value)) = line.split_once(' ') else {
            return Ok(None);
        };
        let field = match key {
            "WIDTH" => &mut width,
            "HEIGHT" => &mut height,
            "DEPTH" => &mut depth,
            "MAXVAL" => &mut max,
            // The depth implies it.
            "TUPLTYPE" => continue,
            _ => return Ok(None),
        };
        *field = value.parse::<u64>().ok();
    }
    Ok(match (width, height, depth, max) {
        (Some(width), Some(height), Some(depth @ (3 | 4)), Some(255)) => Some(Header {
            width,
            height,
            depth: depth as usize,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u64, height: u64, depth: usize, pixels: &[u8]) -> Vec<u8> {
        let header = format!(
            "P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
        );
        [header.as_bytes(), pixels].concat()
    }

    fn read_all(mut stream: &[u8]) -> Result<Vec<Frame>, VideoError> {
        std::iter::from_fn(|| read(&mut stream, Path::new("x")).transpose()).collect()
    }

    #[test]
    fn pictures_in_a_row() {
        let stream = [
            picture(2, 1, 3, b"123456"),
            picture(1, 1, 3, b"P7\n"),
            picture(1, 1, 4, &[255, 100, 0, 128]),
        ];
        let frames = read_all(&stream.concat()).unwrap();
        assert_eq!(frames[0], Frame::new(2, 1, b"123456".to_vec()));
        assert_eq!(frames[1], Frame::new(1, 1, b"P7\n".to_vec()));
        assert_eq!(frames[2], Frame::new(1, 1, vec![128, 50, 0]));
        assert!(read_all(b"").unwrap().is_empty());
    }

    #[test]
    fn damaged_streams_are_errors() {
        for stream in [
            picture(2, 1, 3, b"12345"),
            picture(2, 1, 4, b"1234567"),
            picture(1, 1, 2, b"12"),
            picture(0, 1, 3, b""),
            picture(99_999_999_999, 1, 3, b""),
            picture(999_999_999, 999_999_999, 3, b""),
            b"P7".to_vec(),
            b"P6\n1 1\n255\n123".to_vec(),
            b"P7\nWIDTH 1\nENDHDR\n1".to_vec(),
            b"P7\nWIDTH -1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nENDHDR\n123".to_vec(),
            b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 65535\nENDHDR\n123456".to_vec(),
            b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\n".to_vec(),
            [b"P7\n".to_vec(), b"TUPLTYPE X\n".repeat(99)].concat(),
            b"\xff\xd8\xff\xe0".to_vec(),
        ] {
            assert!(read_all(&stream).is_err(), "{:?}", stream.escape_ascii());
        }
    }
}
