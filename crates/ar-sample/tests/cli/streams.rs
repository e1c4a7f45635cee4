//! Videos on the standard output, and runs that are cut short.

use std::io::Read;
#[cfg(unix)]
use std::{
    io::{BufRead, BufReader},
    path::Path,
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

/// Waits until a file or a folder that is not finished has `least` bytes or files.
#[cfg(unix)]
fn wait_for(folder: &Folder, least: u64, size: impl Fn(&Path) -> u64) {
    let written = || -> u64 {
        let files = folder.list().into_iter();
        let unfinished = files.filter(|path| path.to_string_lossy().contains(".unfinished-"));
        unfinished.map(|path| size(&path)).sum()
    };
    let patience = Instant::now() + Duration::from_secs(120);
    while written() < least {
        assert!(Instant::now() < patience, "nothing written");
        thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(unix)]
fn bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Whether MP4 files can be read.
#[cfg(unix)]
pub(crate) fn has_ffmpeg() -> bool {
    let version = Command::new("ffmpeg").arg("-version").output();
    let found = version.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no ffmpeg");
    }
    found
}

#[cfg(unix)]
#[test]
fn an_interrupted_gif_plays() {
    let folder = Folder::new();
    folder.tiny_model();
    let process = folder.start(&format!("{TINY} --frames 100000 --out kept.gif --json"));
    wait_for(&folder, 4096, bytes);
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
fn an_interrupted_mp4_plays() {
    let folder = Folder::new();
    folder.tiny_model();
    let mut process = folder.start(&format!("{TINY} --frames 10000000 --json"));
    // Nothing is in the file before the end, but progress is reported occasionally.
    let mut stderr = BufReader::new(process.stderr.take().expect("a pipe"));
    let mut progress = String::new();
    stderr.read_line(&mut progress).expect("a line");
    assert!(progress.starts_with("iteration "), "{progress}");
    let output = interrupt(process);
    drop(stderr);

    let report = last_line_json(&String::from_utf8(output.stdout).expect("text"));
    let sampled = report["frames_sampled"].as_u64().expect("a number") as usize;
    assert!((1..10_000_000).contains(&sampled));
    assert_eq!(report["outputs"], serde_json::json!(["sample.mp4"]));
    assert_eq!(
        folder.list(),
        [folder.path("sample.mp4"), folder.path("tiny")]
    );
    if has_ffmpeg() {
        assert_eq!(folder.frames("sample.mp4").len(), sampled);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_stream_plays() {
    let folder = Folder::new();
    folder.tiny_model();
    let mut process = folder.start(&format!("{TINY} --frames 100000 --out - --json"));
    let mut stdout = process.stdout.take().expect("a pipe");
    let mut stream = vec![0; 4096];
    stdout.read_exact(&mut stream).expect("some frames");
    // Keeps reading, since a full pipe would keep the process from ending.
    let rest = thread::spawn(move || {
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("the rest");
        rest
    });
    let output = interrupt(process);
    stream.extend(rest.join().expect("the rest"));

    let report = last_line_json(&String::from_utf8_lossy(&output.stderr));
    let sampled = report["frames_sampled"].as_u64().expect("a number") as usize;
    assert!((1..100_000).contains(&sampled));
    let names: Vec<&[u8]> = boxes(&stream).iter().map(|(name, _)| *name).collect();
    let fragments = [&b"moof"[..], b"mdat"].repeat(sampled);
    assert_eq!(names[2..], fragments);
    if has_ffmpeg() {
        std::fs::write(folder.path("stream.mp4"), stream).expect("a file");
        assert_eq!(folder.frames("stream.mp4").len(), sampled);
    }
}

/// Interrupted during the steps of the first frame, when the file of the video already exists.
#[cfg(unix)]
#[test]
fn an_interrupt_before_the_first_frame_leaves_nothing() {
    let folder = Folder::new();
    folder.tiny_model();
    let process = folder.start(
        "--model tiny --steps 999 --ar-step 999 --frames 3 --batch 512 --count 512 --out a.apng \
         --save-latents l.safetensors --json",
    );
    wait_for(&folder, 1, |_| 1);
    let output = interrupt(process);
    let report = last_line_json(&String::from_utf8(output.stdout).expect("text"));
    assert_eq!(report["outputs"], serde_json::json!([]));
    assert!(report["latents"].is_null());
    assert_eq!(folder.list(), [folder.path("tiny")]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_finished_frames() {
    let folder = Folder::new();
    folder.tiny_model();
    let process = folder.start(&format!(
        "{TINY} --frames 100000 --out kept --format png --json"
    ));
    // Frames appear in a folder with another name.
    wait_for(&folder, 3, |path| {
        std::fs::read_dir(path).map_or(0, |files| files.count() as u64)
    });
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

#[test]
fn a_preview_is_for_terminals_only() {
    let folder = Folder::new();
    folder.tiny_model();
    let plain = folder.run(&format!("{TINY} --frames 6 --out - --format raw"));
    let preview = folder.run(&format!("{TINY} --frames 6 --out - --format raw --preview"));
    assert!(preview.status.success());
    assert_eq!(preview.stdout, plain.stdout);
    assert!(!preview.stderr.contains(&0x1b));
}

/// Waits until a process handles Ctrl-C, interrupts it, and checks that it ends within a second with
/// status 130.
#[cfg(target_os = "linux")]
fn interrupted_at_once(mut process: Child, what: &str) {
    let status = format!("/proc/{}/status", process.id());
    let handles = || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.is_some_and(|mask| {
            let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
            mask & 2 != 0
        })
    };
    while !handles() {
        assert!(process.try_wait().expect("a status").is_none(), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
    // Until it is working.
    thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    let output = interrupt(process);
    let took = start.elapsed();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{what}: {error}");
    assert!(took < Duration::from_secs(1), "{what} took {took:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_before_the_first_frame_ends_commands_within_a_second() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("a.mp4"), "a video").expect("a file");
    let made = Command::new("mkfifo").arg(folder.path("pipe")).status();
    assert!(made.expect("mkfifo").success());
    // A writer that writes nothing.
    let pipe = std::fs::File::options()
        .read(true)
        .write(true)
        .open(folder.path("pipe"));
    let _pipe = pipe.expect("the pipe");
    let ffmpeg = folder.path("ffmpeg.sh");
    let before = |commands: &str| {
        let version = "[ \"$1\" = -version ] && exec echo 'ffmpeg version 0'";
        std::fs::write(&ffmpeg, format!("#!/bin/sh\n{version}\n{commands}\n")).expect("a file");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&ffmpeg, mode).expect("a program");
        folder.list()
    };
    let silent = "exec sleep 5";
    // One frame, and no more: the output has begun.
    let one = "printf 'P7\\nWIDTH 1\\nHEIGHT 1\\nDEPTH 3\\nMAXVAL 255\\nTUPLTYPE RGB\\nENDHDR\\nabc'; exec sleep 5";
    for (arguments, commands) in [
        ("reconstruct a.mp4 --model tiny", silent),
        ("reconstruct a.mp4 --model tiny", one),
        ("--model tiny --prefix a.mp4", silent),
        ("evaluate --model tiny --data pipe --out new", silent),
    ] {
        let names = before(commands);
        let process = Command::new(env!("CARGO_BIN_EXE_ar-sample"))
            .current_dir(folder.0.path())
            .env("AR_FFMPEG", &ffmpeg)
            .args(arguments.split_whitespace())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        interrupted_at_once(process.expect("the command starts"), arguments);
        assert_eq!(folder.list(), names, "{arguments}");
    }
}

/// If the system refuses something, the error names the limit; nothing panics and nothing is left.
#[cfg(target_os = "linux")]
#[test]
fn limits_of_the_system_are_named() {
    let folder = Folder::new();
    folder.tiny_model();
    let names = folder.list();
    let check = |line: &str, limit: &str| {
        let output = folder.shell(line);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {error}");
        assert!(
            error.contains(&format!("`ulimit {limit}`")),
            "{line}: {error}"
        );
        assert_eq!(error.lines().count(), 1, "{line}: {error}");
        assert_eq!(folder.list(), names, "{line}");
    };
    for format in ["mp4", "gif", "rgb", "apng"] {
        check(
            &format!("ulimit -f 1; $AR {TINY} --frames 40 --out a.{format}"),
            "-f",
        );
    }
    check(
        &format!("ulimit -f 0; $AR {TINY} --save-latents l --out /dev/null --format mp4"),
        "-f",
    );
    check(
        &format!("ulimit -n 4; $AR {TINY} --out a.gif --denoising d.gif"),
        "-n",
    );
    // Either the memory is sufficient, or the error names it.
    for kibibytes in [60_000, 120_000, 160_000, 200_000, 250_000, 300_000, 500_000] {
        let line = format!("ulimit -v {kibibytes}; $AR {TINY} --out a.mp4");
        let output = folder.shell(&line);
        let error = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => std::fs::remove_file(folder.path("a.mp4")).expect("a video"),
            code => {
                assert_eq!(code, Some(2), "{line}: {error}");
                assert!(error.starts_with("error: "), "{line}: {error}");
                assert_eq!(error.lines().count(), 1, "{line}: {error}");
                assert!(
                    error.contains("ulimit -v") || error.contains("`-v`"),
                    "{line}: {error}"
                );
                for left in folder.list() {
                    let is_unfinished = left.to_string_lossy().contains(".unfinished-");
                    assert!(names.contains(&left) || is_unfinished, "{line}: {left:?}");
                    // A process without memory can remove nothing.
                    assert!(!is_unfinished || error.contains("out of memory"), "{line}");
                    if is_unfinished {
                        std::fs::remove_file(left).expect("removed");
                    }
                }
            }
        }
    }
    check(&format!("ulimit -v 60000; $AR {TINY}"), "-v");
}

/// `nohup` ignores the signal of a terminal that closes, and so does the program then.
#[cfg(unix)]
#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let folder = Folder::new();
    folder.tiny_model();
    // Nothing can undo it if these tests run under `nohup` themselves.
    let inherited = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        ignored.is_some_and(|mask| mask & 1 == 1)
    });
    for is_ignored in [true, false] {
        if inherited && !is_ignored {
            continue;
        }
        let trap = if is_ignored { "trap '' HUP; " } else { "" };
        let line = format!("{trap}exec $AR {TINY} --frames 1000000 --out kept.gif");
        let mut process = Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.0.path())
            .env("AR", env!("CARGO_BIN_EXE_ar-sample"))
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        wait_for(&folder, 4096, bytes);
        let hangup = Command::new("kill")
            .args(["-HUP", &process.id().to_string()])
            .status();
        assert!(hangup.expect("kill").success());
        if is_ignored {
            thread::sleep(Duration::from_millis(300));
            assert!(process.try_wait().expect("a status").is_none());
            interrupt(process);
        } else {
            assert_eq!(process.wait().expect("an end").code(), Some(130));
        }
        std::fs::remove_file(folder.path("kept.gif")).expect("a video");
    }
}
