use std::fs;
use std::path::Path;

use ar_video::{VideoError, VideoFormat, VideoReader, read_clip, write_clip};
use image::{ImageFormat, RgbImage};
use tempfile::tempdir;

use crate::{has_ffmpeg, noise, smooth};

fn message(path: &Path) -> String {
    let message = read_clip(path).unwrap_err().to_string();
    assert!(
        message.contains(path.to_str().unwrap()),
        "{message} does not name {path:?}"
    );
    message
}

#[test]
fn missing_and_empty_paths() {
    let folder = tempdir().unwrap();
    assert!(message(folder.path()).contains("no image files"));
    let path = folder.path().join("clip.mp4");
    assert!(message(&path).contains("no such file"));
    fs::write(&path, "").unwrap();
    assert!(message(&path).contains("the file is empty"));
    fs::rename(&path, folder.path().join("0.png")).unwrap();
    let error = read_clip(folder.path()).unwrap_err().to_string();
    assert!(error.contains("0.png: the file is empty"), "{error}");
}

#[cfg(unix)]
#[test]
fn devices_are_not_read() {
    assert!(message(Path::new("/dev/zero")).contains("neither a file nor a folder"));
}

#[test]
fn images_of_different_sizes_are_named() {
    let folder = tempdir().unwrap();
    RgbImage::new(4, 2)
        .save(folder.path().join("a.png"))
        .unwrap();
    RgbImage::new(4, 2)
        .save(folder.path().join("b.png"))
        .unwrap();
    RgbImage::new(4, 3)
        .save(folder.path().join("c.png"))
        .unwrap();
    let mut reader = VideoReader::open(folder.path()).unwrap();
    assert!(reader.next().unwrap().is_ok());
    assert!(reader.next().unwrap().is_ok());
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("a.png is 4x2 and") && error.ends_with("c.png is 4x3"),
        "{error}"
    );
    assert!(reader.next().is_none());
}

/// Every prefix of `bytes` must be refused, and never be read as a shorter video.
fn assert_no_prefix_reads(path: &Path, bytes: &[u8], shortest: usize) {
    for length in shortest..bytes.len() {
        fs::write(path, &bytes[..length]).unwrap();
        let result = read_clip(path);
        assert!(
            result.is_err(),
            "{path:?}: {length} of {} bytes read as {result:?}",
            bytes.len()
        );
    }
}

#[test]
fn truncated_animations_are_refused() {
    let folder = tempdir().unwrap();
    // The shortest prefixes are not recognised, and are passed to ffmpeg, which is slow.
    let path = folder.path().join("clip.apng");
    write_clip(&path, &noise(5, 4, 3), VideoFormat::Apng, 10.0).unwrap();
    let bytes = fs::read(&path).unwrap();
    // All frames of an APNG are there before its end marker of 12 bytes.
    assert_no_prefix_reads(&path, &bytes[..bytes.len() - 12], 8);

    let path = folder.path().join("clip.gif");
    write_clip(&path, &noise(5, 4, 3), VideoFormat::Gif, 10.0).unwrap();
    let bytes = fs::read(&path).unwrap();
    // A GIF needs no end mark, so one that is cut off after a frame is complete.
    let mut ends = Vec::new();
    for length in 6..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        if let Ok(clip) = read_clip(&path) {
            ends.push((length, clip.frames().len()));
        }
    }
    let counts: Vec<usize> = ends.iter().map(|&(_, count)| count).collect();
    assert_eq!(counts, [1, 2, 3]);
    assert_eq!(ends[2].0, bytes.len() - 1);
}

#[test]
fn truncated_images_are_refused() {
    let folder = tempdir().unwrap();
    let frame = &noise(9, 7, 1).frames()[0].clone();
    let image = RgbImage::from_raw(9, 7, frame.rgb().to_vec()).unwrap();
    for (format, head, tail) in [
        (ImageFormat::Png, 8, 12),
        // Here the last byte is padding.
        (ImageFormat::Bmp, 2, 1),
        (ImageFormat::WebP, 12, 1),
        (ImageFormat::Jpeg, 3, 0),
    ] {
        let path = folder.path().join("image");
        image.save_with_format(&path, format).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_no_prefix_reads(&path, &bytes[..bytes.len() - tail], head);
    }
}

#[test]
fn damage_never_panics() {
    let folder = tempdir().unwrap();
    for format in [VideoFormat::Gif, VideoFormat::Apng] {
        let path = folder
            .path()
            .join("clip")
            .with_extension(format.extension());
        write_clip(&path, &noise(5, 4, 3), format, 10.0).unwrap();
        let bytes = fs::read(&path).unwrap();
        for at in 8..bytes.len() {
            for value in [0, 1, 127, 255] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                fs::write(&path, damaged).unwrap();
                // Any answer will do.
                let _ = read_clip(&path);
            }
        }
    }
}

#[test]
fn huge_frames_are_refused_before_they_are_allocated() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("huge.gif");
    write_clip(&path, &noise(2, 2, 1), VideoFormat::Gif, 10.0).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[6..10].fill(0xff);
    fs::write(&path, bytes).unwrap();
    assert!(message(&path).contains("65535x65535 is too large"));
}

#[test]
fn damaged_videos_are_refused() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let text = folder.path().join("text.mp4");
    fs::write(
        &text,
        "This is a text file, whatever its name says.\n".repeat(20),
    )
    .unwrap();
    assert!(message(&text).contains("ffmpeg cannot decode this file"));

    let path = folder.path().join("clip.mp4");
    write_clip(&path, &smooth(64, 64, 12), VideoFormat::Mp4, 25.0).unwrap();
    let bytes = fs::read(&path).unwrap();
    for part in [1, 5, 10, 30, 50, 70, 90, 99] {
        fs::write(&path, &bytes[..bytes.len() * part / 100]).unwrap();
        let error = read_clip(&path).unwrap_err();
        assert!(
            matches!(
                error,
                VideoError::Ffmpeg { .. } | VideoError::NoVideo { .. }
            ),
            "{part} %: {error}"
        );
    }
}

#[test]
fn what_is_no_file_is_no_frame() {
    let folder = tempdir().unwrap();
    let frame = folder.path().join("a.png");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/dev/zero", &frame).unwrap();
        let error = read_clip(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("a.png: neither a file nor a folder"),
            "{error}"
        );
    }
}

/// A colour profile of 64 MiB in 64 KiB: none of it is unpacked.
#[test]
fn colour_profiles_are_not_unpacked() {
    let folder = tempdir().unwrap();
    for format in [VideoFormat::Apng, VideoFormat::Png] {
        let path = folder.path().join(format.to_string());
        let clip = noise(3, 2, 1);
        write_clip(&path, &clip, format, 10.0).unwrap();
        let file = match format {
            VideoFormat::Png => path.join("frame_00000.png"),
            _ => path.clone(),
        };
        let bytes = fs::read(&file).unwrap();
        // A damaged profile: a decoder that unpacks it fails.
        let mut profile = b"iCCPx\0\0damaged".to_vec();
        let mut crc = !0_u32;
        for &byte in &profile {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        let length = profile.len() as u32 - 4;
        profile.splice(..0, length.to_be_bytes());
        profile.extend((!crc).to_be_bytes());
        // After the header of the file and of the picture.
        let with = [&bytes[..33], &profile, &bytes[33..]].concat();
        fs::write(&file, with).unwrap();
        assert_eq!(read_clip(&path).unwrap(), clip);
    }
}
