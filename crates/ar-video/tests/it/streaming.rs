use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use ar_video::{VideoFormat, VideoWriter, read_clip};
use tempfile::tempdir;

use crate::mp4::{boxes, inside};
use crate::{has_ffmpeg, noise, psnr, smooth};

/// What went through a pipe so far.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<Vec<u8>>>);

impl Pipe {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe whose reader has gone.
struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_frame_is_a_fragment_of_its_own() {
    let (pipe, fps) = (Pipe::default(), 7.0);
    let mut writer = VideoWriter::stream(pipe.clone(), "pipe", VideoFormat::Mp4, fps).unwrap();
    let clip = smooth(50, 38, 20);
    for (index, frame) in clip.frames().iter().enumerate() {
        writer.write(frame).unwrap();
        let bytes = pipe.bytes();
        let names: Vec<_> = boxes(&bytes).into_iter().map(|(name, _)| name).collect();
        let fragments = ["moof", "mdat"].repeat(index + 1);
        assert_eq!(names, [&["ftyp", "moov"][..], &fragments].concat());
    }
    writer.finish().unwrap();

    let bytes = pipe.bytes();
    assert!(!inside(&bytes, &["moov", "mvex", "trex"]).is_empty());
    let number = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    };
    let mut end = 0;
    for (index, pair) in boxes(&bytes)[2..].chunks(2).enumerate() {
        let (moof, mdat) = (pair[0].1, pair[1].1);
        assert_eq!(number(inside(moof, &["mfhd"]), 4), index + 1);
        let run = inside(moof, &["traf", "trun"]);
        // After the rest of `moof` and the head of `mdat`.
        assert_eq!(number(run, 8), moof.len() + 16);
        assert_eq!(number(run, 16), mdat.len());
        // A frame starts where the previous one ends, and the rate is kept over all of them.
        assert_eq!(number(inside(moof, &["traf", "tfdt"]), 8), end);
        end += number(run, 12);
        assert_eq!(end, ((index + 1) as f64 * 90_000.0 / fps).round() as usize);
    }
}

#[test]
fn a_stream_plays_as_far_as_it_was_written() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("stream.mp4");
    let pipe = Pipe::default();
    let mut writer = VideoWriter::stream(pipe.clone(), "pipe", VideoFormat::Mp4, 4.0).unwrap();
    // More than two key frames.
    let clip = smooth(64, 48, 20);
    for (index, frame) in clip.frames().iter().enumerate() {
        writer.write(frame).unwrap();
        if index + 1 == 1 || index + 1 == 20 {
            fs::write(&path, pipe.bytes()).unwrap();
            let frames = read_clip(&path).unwrap().into_frames();
            assert_eq!(frames.len(), index + 1);
            for (found, expected) in frames.iter().zip(clip.frames()) {
                let psnr = psnr(found, expected);
                assert!(psnr > 34.0, "{psnr:.1} dB");
            }
        }
    }
}

#[test]
fn raw_frames_are_their_bytes() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.rgb");
    let clip = noise(5, 3, 4);
    let pipe = Pipe::default();
    let mut stream = VideoWriter::stream(pipe.clone(), "pipe", VideoFormat::Raw, 8.0).unwrap();
    let mut file = VideoWriter::create(&path, VideoFormat::Raw, 8.0).unwrap();
    for frame in clip.frames() {
        stream.write(frame).unwrap();
        file.write(frame).unwrap();
    }
    file.finish().unwrap();
    let expected: Vec<u8> = clip
        .frames()
        .iter()
        .flat_map(|f| f.rgb().to_vec())
        .collect();
    assert_eq!(pipe.bytes(), expected);
    assert_eq!(fs::read(&path).unwrap(), expected);
}

#[test]
fn what_cannot_stream_says_so() {
    for format in VideoFormat::ALL {
        let stream = VideoWriter::stream(ClosedPipe, "pipe", format, 8.0);
        assert_eq!(stream.is_ok(), format.streams(), "{format}");
        let Ok(mut stream) = stream else { continue };
        let error = stream.write(&noise(16, 16, 1).frames()[0]).unwrap_err();
        assert_eq!(error.to_string(), "pipe: broken pipe");
    }
}
