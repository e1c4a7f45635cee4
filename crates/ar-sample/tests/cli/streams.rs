//! Videos on the standard output, and runs that are cut short.

use std::io::Read;
#[cfg(unix)]
use std::{
    process::{Child, Command, Output},
    thread,
    time::{Duration, Instant},
};

use ar_video::Frame;

use super::{Folder, TINY, last_line_json};

/// Names and contents of the boxes of an MP4 file, or inside of one.
fn boxes(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut boxes = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        boxes.push((&rest[..4], &rest[4..size - 4]));
        bytes = &bytes[size..];
    }
    boxes
}

#[test]
fn a_stream_is_fragmented_mp4() {
    let folder = Folder::new();
    folder.tiny_model();
    let output = folder.run(&format!("{TINY} --frames 6 --out - --json"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // The video has the standard output for itself.
    assert!(
        errors.starts_with("standard output: 6 frames of 16x16"),
        "{errors}"
    );
    assert_eq!(last_line_json(&errors)["outputs"], serde_json::json!(["-"]));

    let stream = boxes(&output.stdout);
    let names: Vec<&[u8]> = stream.iter().map(|(name, _)| *name).collect();
    let fragments = [&b"moof"[..], b"mdat"].repeat(6);
    assert_eq!(names, [&[&b"ftyp"[..], b"moov"], &fragments[..]].concat());
    let header = boxes(stream[1].1);
    assert!(header.iter().any(|(name, _)| *name == b"mvex"));
    assert_eq!(folder.list(), [folder.path("tiny")]);
}

#[test]
fn a_raw_stream_is_the_pixels() {
    let folder = Folder::new();
    folder.tiny_model();
    let arguments = format!("{TINY} --frames 6 --seed 3");
    folder.ok(&format!("{arguments} --out a.apng"));
    let stream = folder.run(&format!("{arguments} --out - --format raw"));
    assert!(stream.status.success());
    assert_eq!(stream.stdout.len(), 6 * 16 * 16 * 3);
    let frames = folder.frames("a.apng");
    let expected: Vec<u8> = frames.into_iter().flat_map(Frame::into_rgb).collect();
    assert_eq!(stream.stdout, expected);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = Folder::new();
    folder.tiny_model();
    let mut process = folder.start(&format!("{TINY} --frames 100000 --out - --format raw"));
    let mut stdout = process.stdout.take().expect("a pipe");
    let mut frame = [0; 16 * 16 * 3];
    stdout.read_exact(&mut frame).expect("a frame");
    drop(stdout);
    let output = process.wait_with_output().expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

/// Presses Ctrl-C and waits for the end.
#[cfg(unix)]
fn interrupt(process: Child) -> Output {
    let interrupt = Command::new("kill")
        .args(["-INT", &process.id().to_string()])
        .status();
    assert!(interrupt.expect("kill").success());
    let output = process.wait_with_output().expect("an end");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    output
}

#[cfg(unix)]
#[test]
fn an_interrupted_video_plays() {
    let folder = Folder::new();
    folder.tiny_model();
    let process = folder.start(&format!("{TINY} --frames 100000 --out kept.gif --json"));
    let written = || {
        let files = folder.list().into_iter();
        let unfinished = files.filter(|path| path.to_string_lossy().contains(".unfinished-"));
        unfinished
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|file| file.len())
            .sum::<u64>()
    };
    let patience = Instant::now() + Duration::from_secs(120);
    while written() < 4096 {
        assert!(Instant::now() < patience, "nothing written");
        thread::sleep(Duration::from_millis(10));
    }
    let output = interrupt(process);
    let report = last_line_json(&String::from_utf8(output.stdout).expect("text"));
    assert_eq!(report["frames_sampled"], folder.frames("kept.gif").len());
    assert_eq!(
        folder.list(),
        [folder.path("kept.gif"), folder.path("tiny")]
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_finished_frames() {
    let folder = Folder::new();
    folder.tiny_model();
    let process = folder.start(&format!(
        "{TINY} --frames 100000 --out kept --format png --json"
    ));
    // Frames appear in a folder under another name.
    let frames = || {
        let folders = folder.list().into_iter();
        let unfinished = folders.filter(|path| path.to_string_lossy().contains(".unfinished-"));
        unfinished
            .filter_map(|path| std::fs::read_dir(path).ok())
            .map(Iterator::count)
            .sum::<usize>()
    };
    let patience = Instant::now() + Duration::from_secs(120);
    while frames() < 3 {
        assert!(Instant::now() < patience, "no frames");
        thread::sleep(Duration::from_millis(10));
    }
    let output = interrupt(process);

    let kept = folder.frames("kept").len();
    assert!((3..100_000).contains(&kept));
    let stdout = String::from_utf8(output.stdout).expect("text");
    let expected = format!("kept: interrupted, kept {kept} of 100000 frames of 16x16");
    assert!(stdout.starts_with(&expected), "{stdout}");
    let report = last_line_json(&stdout);
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["frames_sampled"], kept);
    assert_eq!(folder.list(), [folder.path("kept"), folder.path("tiny")]);
}
