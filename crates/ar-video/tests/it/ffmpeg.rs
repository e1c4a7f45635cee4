use std::fs;
use std::path::Path;

use ar_video::{Ffmpeg, VideoFormat, VideoReader, read_clip, write_clip};
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
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("ffmpeg.sh");
    fs::write(&program, format!("#!/bin/sh\n{commands}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Ffmpeg::new(program)
}

/// What a stand-in makes of a file: the number of frames or the error.
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

#[cfg(unix)]
#[test]
fn what_ffmpeg_does_is_reported() {
    const FRAME: &str = r"printf 'P6\n1 1\n255\nabc'";
    let error = |commands: &str| read_with(commands).unwrap_err();

    assert_eq!(read_with(&format!("{FRAME}; {FRAME}")), Ok(2));
    // Messages that are no error, more than a pipe holds.
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
    let message = error("kill -9 $$");
    assert!(message.contains("signal: 9"), "{message}");
    let message = error(&format!(
        "{FRAME}; printf 'P6\\n1 1\\n255\\na'; echo broken >&2; exit 1"
    ));
    assert!(message.ends_with("broken"), "{message}");
    let message = error(&format!("{FRAME}; printf 'P6\\n2 1\\n255\\nabcdef'"));
    assert!(
        message.ends_with("but frame 1 is 2x1, not 1x1"),
        "{message}"
    );
    let message = error("printf 'P6\\n99999 99999\\n255\\n'; exec sleep 9");
    assert!(message.contains("99999x99999 is too large"), "{message}");
    let message = error("echo \"Unrecognized option 'fps_mode'.\" >&2; exit 1");
    assert!(
        message.contains("ffmpeg 5.1 or newer is needed"),
        "{message}"
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
        r"echo $$ > $(dirname $0)/pid; while true; do printf 'P6\n1 1\n255\nabc'; done",
    );
    let mut reader = VideoReader::open_with(&path, &ffmpeg).unwrap();
    assert!(reader.by_ref().take(100).all(|frame| frame.is_ok()));
    let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    drop(reader);
    assert!(!process.exists());
}
