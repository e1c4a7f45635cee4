//! Properties that must hold for any input: the bodies of property tests here, and of the fuzz
//! targets in `fuzz`.

use std::fs;
use std::path::Path;

use ar_video::{Ffmpeg, VideoError, VideoReader};

/// The start by which a kind of file is recognised.
pub(crate) const GIF: &[u8] = b"GIF89a";
/// See [`GIF`].
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// See [`GIF`].
pub(crate) const WEBP: &[u8] = b"RIFF\0\0\0\0WEBP";

/// A file with any contents that starts like a certain kind is either frames of the same size or an
/// error that names the file, the same every time. It may need nothing but ffmpeg.
pub(crate) fn file(start: &[u8], bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("input");
    let mut bytes = bytes.to_vec();
    if start == WEBP {
        // The size stays what it is.
        overwrite(&mut bytes, 0, &start[..4]);
        overwrite(&mut bytes, 8, &start[8..]);
    } else {
        overwrite(&mut bytes, 0, start);
    }
    fs::write(&path, &bytes).expect("a file");
    let none = Ffmpeg::new("no-ffmpeg-for-fuzzing");
    assert_eq!(verdict(&path, &none), verdict(&path, &none));
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, with: &[u8]) {
    bytes.resize(bytes.len().max(at + with.len()), 0);
    bytes[at..at + with.len()].copy_from_slice(with);
}

/// A folder of files with any names and contents is either frames of the same size or an error.
pub(crate) fn folder(files: &[(String, Vec<u8>)]) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        // Not every text is a valid name.
        let name = name.replace(['/', '\0'], "_");
        let _ = fs::write(folder.path().join(name), bytes);
    }
    let none = Ffmpeg::new("no-ffmpeg-for-fuzzing");
    assert_eq!(verdict(folder.path(), &none), verdict(folder.path(), &none));
}

/// Whatever ffmpeg sends is either frames of the same size or an error. A shell script plays
/// ffmpeg.
#[cfg(unix)]
pub(crate) fn pipe(bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.avi");
    fs::write(&path, "RIFF").expect("a file");
    fs::write(folder.path().join("sent"), bytes).expect("a file");
    let program = folder.path().join("ffmpeg");
    fs::write(&program, "#!/bin/sh\nexec cat \"${0%/*}/sent\"\n").expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let _ = verdict(&path, &Ffmpeg::new(program));
}

/// The number of frames and their size, or the error.
fn verdict(path: &Path, ffmpeg: &Ffmpeg) -> Result<(usize, (usize, usize)), String> {
    let read = || {
        let reader = VideoReader::open_with(path, ffmpeg)?;
        let size = reader.size();
        let mut count = 0;
        for frame in reader {
            let frame = frame?;
            assert_eq!(frame.size(), size);
            assert_eq!(frame.rgb().len(), size.0 * size.1 * 3);
            count += 1;
        }
        assert!(count > 0, "an open video has a frame");
        Ok::<_, VideoError>((count, size))
    };
    read().map_err(|error| {
        let message = error.to_string();
        assert!(
            message.contains(path.to_str().expect("text")),
            "{message:?} names no file"
        );
        assert!(
            !message.contains("ar-video/src"),
            "a panic of our own: {message}"
        );
        message
    })
}
