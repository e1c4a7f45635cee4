use std::fs;

use ar_video::{Frame, VideoFormat, read_clip, write_clip};
use tempfile::tempdir;

use crate::{has_ffmpeg, noise, psnr, smooth};

/// Names and sizes of the boxes of an MP4 file, or inside of one.
pub(crate) fn boxes(mut bytes: &[u8]) -> Vec<(String, &[u8])> {
    let mut boxes = Vec::new();
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        boxes.push((
            String::from_utf8_lossy(&bytes[4..8]).into_owned(),
            &bytes[8..size],
        ));
        bytes = &bytes[size..];
    }
    boxes
}

pub(crate) fn inside<'a>(bytes: &'a [u8], path: &[&str]) -> &'a [u8] {
    path.iter().fold(bytes, |bytes, name| {
        boxes(bytes)
            .into_iter()
            .find(|(found, _)| found == name)
            .unwrap()
            .1
    })
}

#[test]
fn mp4_has_its_index_in_front_and_the_right_times() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    for frames in [1_u32, 5] {
        write_clip(
            &path,
            &smooth(50, 38, frames as usize),
            VideoFormat::Mp4,
            8.0,
        )
        .unwrap();
        let bytes = fs::read(&path).unwrap();
        let names: Vec<_> = boxes(&bytes).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ftyp", "moov", "mdat"]);

        let number = |path: &[&str], at: usize| {
            u32::from_be_bytes(inside(&bytes, path)[at..at + 4].try_into().unwrap())
        };
        let table = ["moov", "trak", "mdia", "minf", "stbl", "stts"];
        assert_eq!(number(&table, 4), 1, "one run of frame times");
        assert_eq!(
            (number(&table, 8), number(&table, 12)),
            (frames, 90_000 / 8)
        );
        assert_eq!(
            number(&["moov", "trak", "mdia", "mdhd"], 16),
            frames * 90_000 / 8
        );
        assert_eq!(number(&["moov", "mvhd"], 16), frames * 1000 / 8);
        assert_eq!(number(&["moov", "trak", "tkhd"], 20), frames * 1000 / 8);
    }
}

#[test]
fn mp4_decodes_to_nearly_the_same() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    for (width, height, frames) in [
        (64, 48, 20),
        (256, 256, 4),
        (33, 17, 3),
        (1, 1, 1),
        (5, 90, 2),
    ] {
        let clip = smooth(width, height, frames);
        write_clip(&path, &clip, VideoFormat::Mp4, 25.0).unwrap();
        let read = read_clip(&path).unwrap();
        let padded = |side: usize| side.max(16).next_multiple_of(2);
        assert_eq!(
            (read.width(), read.height()),
            (padded(width), padded(height))
        );
        assert_eq!(read.frames().len(), frames);
        for (read, written) in read.frames().iter().zip(clip.frames()) {
            let rows = read.rgb().chunks_exact(read.width() * 3).take(height);
            let rgb = rows.flat_map(|row| &row[..width * 3]).copied().collect();
            let quality = psnr(&Frame::new(width, height, rgb), written);
            // Chroma at half resolution and 8-bit YUV cost the most of it.
            assert!(quality > 35.0, "{width}x{height}: {quality}");
        }
    }
}

#[test]
fn mp4_keeps_every_frame_and_has_key_frames() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let tables = ["moov", "trak", "mdia", "minf", "stbl"];
    // An encoder may want to skip noise, and noise needs more bytes than OpenH264 expects.
    for clip in [smooth(32, 32, 130), noise(128, 128, 130)] {
        write_clip(&path, &clip, VideoFormat::Mp4, 60.0).unwrap();
        let bytes = fs::read(&path).unwrap();
        let tables = inside(&bytes, &tables);
        assert_eq!(inside(tables, &["stsz"])[8..12], 130_u32.to_be_bytes());
        let numbers = inside(tables, &["stss"])[8..].chunks_exact(4);
        let keys: Vec<_> = numbers
            .map(|n| u32::from_be_bytes(n.try_into().unwrap()))
            .collect();
        // One every two seconds at least, and where the scene changes.
        assert!(keys[0] == 1 && keys[1] <= 121, "{keys:?}");
    }
}
