use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ar_video::{Ffmpeg, VideoError, VideoFormat, VideoReader, read_clip, write_clip};
use tempfile::tempdir;

use crate::{has_ffmpeg, smooth};

#[test]
fn a_missing_ffmpeg_is_explained() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let error = VideoReader::open_with(&path, &Ffmpeg::new("no-such-ffmpeg"))
        .err()
        .unwrap();
    let error = error.to_string();
    assert!(
        error.contains("clip.avi") && error.contains("no-such-ffmpeg"),
        "{error}"
    );
    assert!(error.contains("install ffmpeg or set AR_FFMPEG"), "{error}");
}

#[test]
fn odd_names_are_read() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let clip = smooth(32, 32, 2);
    for name in [
        "-i.mp4",
        "a:b.mp4",
        "100%d ü'\"?*[x].mp4",
        "no extension",
        "http:x",
        "x\n.mp4",
    ] {
        let path = folder.path().join(name);
        write_clip(&path, &clip, VideoFormat::Mp4, 25.0).unwrap();
        assert_eq!(read_clip(&path).unwrap().frames().len(), 2, "{name}");
    }
}

/// A stand-in for ffmpeg that runs `commands`.
#[cfg(unix)]
fn fake(folder: &Path, commands: &str) -> Ffmpeg {
    script(
        folder,
        &format!("[ \"$1\" = -version ] && exec echo 'ffmpeg version 0'\n{commands}"),
    )
}

/// A program of `commands`.
#[cfg(unix)]
fn script(folder: &Path, commands: &str) -> Ffmpeg {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("ffmpeg.sh");
    fs::write(&program, format!("#!/bin/sh\n{commands}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Ffmpeg::new(program)
}

/// The result of reading with a stand-in: the number of frames or the error.
#[cfg(unix)]
fn read_with(commands: &str) -> Result<usize, String> {
    use std::time::Duration;
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let ffmpeg = fake(folder.path(), commands).with_timeout(Duration::from_secs(1));
    let count = |reader: VideoReader| reader.map(|f| f.map(|_| 1)).sum::<Result<usize, _>>();
    VideoReader::open_with(&path, &ffmpeg)
        .and_then(count)
        .map_err(|e| e.to_string())
}

/// The start of a picture, and a picture of one pixel.
#[cfg(unix)]
const HEADER: &str = r"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nENDHDR\n";
#[cfg(unix)]
const FRAME: &str = r"printf 'P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nENDHDR\nabc'";

#[cfg(unix)]
fn error(commands: &str) -> String {
    read_with(commands).unwrap_err()
}

#[cfg(unix)]
#[test]
fn what_ffmpeg_does_is_reported() {
    assert_eq!(read_with(&format!("{FRAME}; {FRAME}")), Ok(2));
    // More messages than fit into a pipe, none of which is an error.
    let chatter = "yes chatter | head -c 300000 >&2";
    assert_eq!(read_with(&format!("{FRAME}; {chatter}; {FRAME}")), Ok(2));

    assert!(error("true").ends_with("no video frames"));
    let first = "echo '[avi @ 0x5] first'; echo second";
    let message = error(&format!("{FRAME}; ({first}) >&2; exit 1"));
    assert!(
        message.ends_with("ffmpeg cannot decode this file: first"),
        "{message}"
    );
    let message = error(&format!("{FRAME}; echo 'stream 0: partial file' >&2"));
    assert!(message.ends_with("partial file"), "{message}");
    let message = error("kill -SEGV $$");
    assert!(message.contains("it ended with signal: 11"), "{message}");
    let message = error(&format!(
        "{FRAME}; printf '{HEADER}a'; echo broken >&2; exit 1"
    ));
    assert!(message.ends_with("broken"), "{message}");
    let wide = FRAME.replace("WIDTH 1", "WIDTH 2").replace("abc", "abcdef");
    let message = error(&format!("{FRAME}; {wide}"));
    assert!(
        message.ends_with("but frame 1 is 2x1, not 1x1"),
        "{message}"
    );
    let huge = FRAME.replace("1\\n", "99999\\n");
    let message = error(&format!("{huge}; exec sleep 9"));
    assert!(message.contains("99999x99999 is too large"), "{message}");
    let message = error("echo \"Unrecognized option 'fps_mode'.\" >&2; exit 1");
    assert!(
        message.contains("ffmpeg 5.1 or newer is needed"),
        "{message}"
    );
}

/// The loader of libraries says no more than this if there is no memory for one.
#[cfg(unix)]
#[test]
fn an_ffmpeg_without_memory_is_not_missing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let loader = "libx.so.3: failed to map segment from shared object";
    let ffmpeg = script(folder.path(), &format!("echo '{loader}' >&2; exit 127"));
    let frames = VideoReader::open_with(&path, &ffmpeg)
        .and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
    let error = frames.unwrap_err();
    assert!(matches!(error, VideoError::FfmpegRefused { .. }), "{error}");
    assert!(
        error.to_string().contains("(`ulimit -u`, `-n`, `-v`)"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_silent_ffmpeg_is_given_up() {
    let message = read_with("sleep 9").unwrap_err();
    assert!(
        message.ends_with("sent no frame for 1 seconds"),
        "{message}"
    );
    // One that closes its output but stays.
    let message = read_with("exec >&- 2>&-; exec sleep 9").unwrap_err();
    assert!(
        message.ends_with("sent no frame for 1 seconds"),
        "{message}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_dropped_reader_ends_ffmpeg() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let ffmpeg = fake(
        folder.path(),
        &format!("echo $$ > $(dirname $0)/pid; while true; do {FRAME}; done"),
    );
    let mut reader = VideoReader::open_with(&path, &ffmpeg).unwrap();
    assert!(reader.by_ref().take(100).all(|frame| frame.is_ok()));
    let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    drop(reader);
    assert!(!process.exists());
}

/// Why reading with a stand-in for ffmpeg fails.
#[cfg(unix)]
fn failure(commands: &str) -> VideoError {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let reader = VideoReader::open_with(&path, &fake(folder.path(), commands));
    let frames = reader.and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
    frames.unwrap_err()
}

#[cfg(unix)]
#[test]
fn the_environment_is_not_the_video() {
    for (commands, words) in [
        ("kill -9 $$", "was stopped (signal: 9"),
        ("kill -INT $$", "was stopped (signal: 2"),
        ("kill -TERM $$", "was stopped (signal: 15"),
        // ffmpeg's answer to a request to stop.
        ("exit 255", "was stopped (exit status: 255)"),
        (
            "echo '[error] file:x: Too many open files' >&2; exit 1",
            "raise the limits on processes, open files and memory",
        ),
        (
            "echo 'Error: Resource temporarily unavailable' >&2; exit 1",
            "raise the limits on processes, open files and memory",
        ),
        (
            "echo 'Error: Cannot allocate memory' >&2; exit 1",
            "raise the limits on processes, open files and memory",
        ),
    ] {
        for commands in [commands.to_owned(), format!("{FRAME}; {commands}")] {
            let error = failure(&commands);
            assert!(error.is_environment(), "{commands}: {error}");
            assert!(error.to_string().contains(words), "{commands}: {error}");
        }
    }
    for commands in ["exit 1", "kill -SEGV $$", "echo broken >&2; exit 1", "true"] {
        let error = failure(commands);
        assert!(!error.is_environment(), "{commands}: {error}");
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let error = VideoReader::open_with(&path, &Ffmpeg::new("no-such-ffmpeg")).unwrap_err();
    assert!(error.is_environment(), "{error}");
    // Programs that are not ffmpeg, or lack a library.
    for (commands, words) in [
        (
            "echo 'error while loading shared libraries: libx' >&2; exit 127",
            "cannot be run (error while loading shared libraries: libx)",
        ),
        (
            "exit 1",
            "asked for its version, it ended with exit status: 1",
        ),
        (
            "true",
            "asked for its version, it ended with exit status: 0",
        ),
    ] {
        let reader = VideoReader::open_with(&path, &script(folder.path(), commands));
        let error = reader.unwrap_err();
        assert!(error.is_environment(), "{commands}: {error}");
        assert!(error.to_string().contains(words), "{commands}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn escape_codes_are_no_part_of_a_message() {
    let message = error(r"printf '\033[31mred\007\033[0m: bad\n' >&2; exit 1");
    assert!(message.ends_with(": red: bad"), "{message:?}");
}

#[cfg(unix)]
#[test]
fn a_playlist_is_named_for_what_it_is() {
    let list = "[hls @ 0x5] [error] Format not on whitelist 'mov'";
    let message = error(&format!("echo \"{list}\" >&2; exit 1"));
    assert!(
        message.ends_with("files of the format hls are not read as videos"),
        "{message}"
    );
}

/// A signal from a terminal goes to all processes of the group.
#[cfg(target_os = "linux")]
#[test]
fn ffmpeg_has_a_process_group_of_its_own() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let note = "cat /proc/$$/stat > $(dirname $0)/stat";
    let ffmpeg = fake(folder.path(), &format!("{note}; {FRAME}"));
    assert_eq!(VideoReader::open_with(&path, &ffmpeg).unwrap().count(), 1);
    let stat = fs::read_to_string(folder.path().join("stat")).unwrap();
    // Number, (name), state, parent, group.
    let fields: Vec<&str> = stat.split(' ').collect();
    assert_eq!(fields[0], fields[4], "{stat}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_wait() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let interrupt = Arc::new(AtomicBool::new(true));
    let ffmpeg = fake(folder.path(), "exec sleep 99").with_interrupt(interrupt);
    let error = VideoReader::open_with(&path, &ffmpeg).unwrap_err();
    assert!(matches!(error, VideoError::Interrupted { .. }), "{error}");
}

/// If an interrupt comes before ffmpeg has answered with its version, ffmpeg does not count as
/// missing.
#[cfg(unix)]
#[test]
fn an_interrupt_while_ffmpeg_is_asked_is_no_verdict() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.avi");
    fs::write(&path, "RIFF").unwrap();
    let commands = "[ \"$1\" = -version ] || exit 1\n: > \"${0%/*}/asked\"\nexec sleep 9";
    let interrupt = Arc::new(AtomicBool::new(false));
    let ffmpeg = script(folder.path(), commands).with_interrupt(interrupt.clone());
    let asked = folder.path().join("asked");
    let reader = std::thread::spawn(move || VideoReader::open_with(&path, &ffmpeg).err());
    while !asked.exists() && !reader.is_finished() {
        std::thread::yield_now();
    }
    interrupt.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = reader.join().unwrap().unwrap();
    assert!(matches!(error, VideoError::Interrupted { .. }), "{error}");
}
