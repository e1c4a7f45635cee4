//! Binary PPM pictures in a row, as ffmpeg's `image2pipe` sends them: each brings its own size.

use std::io::{self, BufRead};
use std::path::Path;

use super::frames::checked_size;
use crate::{Frame, VideoError};

/// The next picture, or `None` where the stream ends between two pictures.
pub(super) fn read(stream: &mut impl BufRead, path: &Path) -> Result<Option<Frame>, VideoError> {
    let io = |e| VideoError::io(path, e);
    if stream.fill_buf().map_err(io)?.is_empty() {
        return Ok(None);
    }
    if token(stream).map_err(io)? != "P6" {
        return Err(VideoError::decode(
            path,
            "the frames from ffmpeg are not PPM pictures",
        ));
    }
    let width = number(stream).map_err(io)?;
    let height = number(stream).map_err(io)?;
    if number(stream).map_err(io)? != 255 {
        return Err(VideoError::decode(
            path,
            "the frames from ffmpeg do not have 8 bits",
        ));
    }
    let (width, height) = checked_size(path, width, height)?;
    let mut rgb = vec![0; width * height * 3];
    stream.read_exact(&mut rgb).map_err(io)?;
    Ok(Some(Frame::new(width, height, rgb)))
}

/// A word of the header and the one white space after it.
fn token(stream: &mut impl BufRead) -> io::Result<String> {
    let mut word = String::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b' ' | b'\n' if !word.is_empty() => return Ok(word),
            byte @ b'!'..=b'~' if word.len() < 10 => word.push(byte.into()),
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "not a PPM header",
                ));
            }
        }
    }
}

fn number(stream: &mut impl BufRead) -> io::Result<u64> {
    token(stream)?
        .parse()
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(mut stream: &[u8]) -> Result<Vec<Frame>, VideoError> {
        std::iter::from_fn(|| read(&mut stream, Path::new("x")).transpose()).collect()
    }

    #[test]
    fn pictures_in_a_row() {
        let frames = read_all(b"P6\n2 1\n255\n123456P6\n1 1\n255\nP6\n").unwrap();
        assert_eq!(frames[0], Frame::new(2, 1, b"123456".to_vec()));
        assert_eq!(frames[1], Frame::new(1, 1, b"P6\n".to_vec()));
        assert!(read_all(b"").unwrap().is_empty());
    }

    #[test]
    fn damaged_streams_are_errors() {
        for stream in [
            &b"P6\n2 1\n255\n12345"[..],
            b"P6",
            b"P5\n1 1\n255\n1",
            b"P6\n1 1\n65535\n123456",
            b"P6\n0 1\n255\n",
            b"P6\n99999999999 1\n255\n",
            b"P6\n999999999 999999999\n255\n",
            b"P6\n-1 1\n255\n123",
            b"\xff\xd8\xff\xe0",
        ] {
            assert!(read_all(stream).is_err(), "{stream:?}");
        }
    }
}
