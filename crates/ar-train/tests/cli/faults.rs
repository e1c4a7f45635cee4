//! How a stage handles bad data, a bad environment, and interrupts.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use super::{Folder, SMALL_VAE, config};

/// A folder with two GIFs of four frames, and a configuration for them.
fn with_gifs() -> Folder {
    let folder = Folder::new();
    fs::create_dir(folder.path("videos")).expect("a folder");
    for name in ["a", "b"] {
        let frame = |t: u8| ar_video::Frame::new(32, 32, vec![20 * t; 32 * 32 * 3]);
        let clip = ar_video::Clip::new((0..4).map(frame).collect());
        let path = folder.path(&format!("videos/{name}.gif"));
        ar_video::write_clip(&path, &clip, ar_video::VideoFormat::Gif, 10.0).expect("a video");
    }
    let text = "[vae]\nkind = \"conv\"\n[data]\nvalidation = 1\npath = \"videos\"\n\
                [data.videos]\nsize = 32\nframes = 2\n";
    fs::write(folder.path("vae.toml"), text).expect("a file");
    folder
}

/// The VAE stage on the videos of a folder.
fn vae(folder: &Folder, ffmpeg: &Path) -> Command {
    let small = SMALL_VAE.replace(
        "--set data.shapes.size=32 --set data.clips=20 --set data.validation=2",
        "",
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_ar-train"));
    command
        .current_dir(folder.path(""))
        .args(["vae", "--config", "vae.toml", "--set", "run.steps=2"])
        .args(small.split_whitespace())
        .env("AR_FFMPEG", ffmpeg);
    command
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A stand-in for ffmpeg that runs `commands`.
#[cfg(unix)]
fn stand_in(folder: &Folder, commands: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.path("ffmpeg.sh");
    let version = "[ \"$1\" = -version ] && exec echo 'ffmpeg version 0'";
    fs::write(&program, format!("#!/bin/sh\n{version}\n{commands}\n")).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    program
}

#[test]
fn what_is_left_out_is_told() {
    let folder = with_gifs();
    fs::write(folder.path("videos/c.gif"), "GIF89a").expect("a file");
    fs::write(folder.path("videos/d.xyz"), "?").expect("a file");
    let output = vae(&folder, Path::new("no-ffmpeg"))
        .output()
        .expect("an end");
    let told = errors(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("1 of 3 videos has no usable clip and is left out: 1 x \"")
            && told.contains("files and folders that are not read as videos: 1 x \"files with the"),
        "{told}"
    );
    let skipped = String::from_utf8(folder.read("vae/skipped.txt")).expect("text");
    assert_eq!(skipped.lines().count(), 2, "{skipped}");

    let too_many = vae(&folder, Path::new("no-ffmpeg"))
        .args([
            "--set",
            "data.videos.max_unusable=0.3",
            "--set",
            "run.out=other",
        ])
        .output();
    let output = too_many.expect("an end");
    assert_eq!(output.status.code(), Some(2));
    let error = errors(&output);
    assert!(
        error.contains("1 of 3 videos has no usable clip, more than"),
        "{error}"
    );
    assert!(!folder.path("other").exists());
}

#[test]
fn another_number_of_clips_is_told_to_a_resumed_run() {
    let folder = with_gifs();
    let run = |arguments: &[&str]| {
        let output = vae(&folder, Path::new("no-ffmpeg"))
            .args(arguments)
            .output();
        let output = output.expect("an end");
        assert!(output.status.success(), "{}", errors(&output));
        errors(&output)
    };
    run(&[]);
    let told = run(&["--resume", "--set", "run.steps=3"]);
    assert!(!told.contains("when the run was last started"), "{told}");
    fs::copy(folder.path("videos/a.gif"), folder.path("videos/c.gif")).expect("a copy");
    let told = run(&["--resume", "--set", "run.steps=4"]);
    assert!(
        told.contains("the dataset has 6 clips and had 4 when the run was last started"),
        "{told}"
    );
}

/// Without ffmpeg, or without what it needs, the stage does not continue with only the files that
/// need no ffmpeg.
#[cfg(unix)]
#[test]
fn the_environment_is_not_the_data() {
    let folder = with_gifs();
    fs::write(folder.path("videos/c.mp4"), "a video").expect("a file");
    let starved = stand_in(&folder, "echo '[error] x: Too many open files' >&2; exit 1");
    let refused = |ffmpeg: &Path, words: &str| {
        let output = vae(&folder, ffmpeg).output().expect("an end");
        let error = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(!folder.path("vae").exists());
    };
    refused(Path::new("no-ffmpeg"), "install ffmpeg or set AR_FFMPEG");
    refused(
        &starved,
        "raise the limits on processes, open files and memory",
    );
    refused(&stand_in(&folder, "kill -INT $$"), "was stopped");
    // A video that ffmpeg calls broken counts as broken.
    let broken = stand_in(&folder, "echo broken >&2; exit 1");
    let output = vae(&folder, &broken).output().expect("an end");
    assert!(output.status.success(), "{}", errors(&output));
}

#[cfg(unix)]
fn interrupt(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Waits until `holds` is true, or the child has ended.
#[cfg(unix)]
fn wait_for(child: &mut Child, holds: impl Fn() -> bool) {
    while !holds() {
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "it ended with {ended:?}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[cfg(unix)]
fn end(mut child: Child) -> ExitStatus {
    child.wait().expect("a status")
}

/// The stand-in sends nothing for longer than any test may take.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_reading_of_videos() {
    let folder = with_gifs();
    fs::write(folder.path("videos/c.mp4"), "a video").expect("a file");
    let silent = stand_in(&folder, "touch $(dirname $0)/started; exec sleep 1000");
    for signal in ["-INT", "-TERM"] {
        let mut child = vae(&folder, &silent)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let started = folder.path("started");
        wait_for(&mut child, || started.exists());
        interrupt(&child, signal);
        assert_eq!(end(child).code(), Some(130));
        fs::remove_file(started).expect("a file");
        assert!(!folder.path("vae").exists());
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_stage_is_no_success() {
    let folder = Folder::new();
    let stage = format!("vae {} {SMALL_VAE} --set run.steps=1000000", config("vae"));
    let mut child = folder.start(&stage);
    let metrics = folder.path("vae/metrics.jsonl");
    wait_for(&mut child, || {
        fs::metadata(&metrics).is_ok_and(|file| file.len() > 0)
    });
    interrupt(&child, "-INT");
    assert_eq!(end(child).code(), Some(130));
    let checkpoints = fs::read_dir(folder.path("vae/checkpoints")).expect("a folder");
    assert_eq!(checkpoints.count(), 1);
}

/// Whatever is being read when the signal arrives, here a pipe without a writer.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_before_the_first_step_ends_commands_within_a_second() {
    use std::time::{Duration, Instant};

    let folder = Folder::new();
    let made = Command::new("mkfifo").arg(folder.path("pipe")).status();
    assert!(made.expect("mkfifo").success());
    let pipe = fs::File::options()
        .read(true)
        .write(true)
        .open(folder.path("pipe"));
    let _pipe = pipe.expect("the pipe");
    for arguments in [
        "vae --config pipe",
        "vae --dry-run --config pipe",
        "latents --config pipe",
        "diffusion --config pipe",
        "import --vae none --config pipe --out new",
    ] {
        for signal in ["-INT", "-TERM", "-HUP"] {
            let mut child = folder.start(arguments);
            let status = format!("/proc/{}/status", child.id());
            wait_for(&mut child, || {
                let text = fs::read_to_string(&status).unwrap_or_default();
                let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
                caught.is_some_and(|mask| {
                    u64::from_str_radix(mask.trim(), 16).expect("a mask") & 2 != 0
                })
            });
            std::thread::sleep(Duration::from_millis(50));
            let start = Instant::now();
            interrupt(&child, signal);
            assert_eq!(end(child).code(), Some(130), "{arguments} {signal}");
            let took = start.elapsed();
            assert!(took < Duration::from_secs(1), "{arguments}: {took:?}");
        }
    }
    let names = fs::read_dir(folder.path("")).expect("a list");
    assert_eq!(names.count(), 1);
}

/// A limit on the size of files is like a full disk that says which file it is full for.
#[cfg(unix)]
#[test]
fn files_that_cannot_be_written_have_their_own_names() {
    let folder = Folder::new();
    let mut failed = 0;
    for blocks in [0, 1, 2, 8, 24, 32, 48, 64, 96] {
        let _ = fs::remove_dir_all(folder.path("vae"));
        let line = format!(
            "ulimit -f {blocks}; $AR vae {} {SMALL_VAE} --set run.steps=2 --set run.checkpoint_every=1",
            config("vae")
        );
        let output = Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.path(""))
            .env("AR", env!("CARGO_BIN_EXE_ar-train"))
            .output()
            .expect("a shell");
        let error = errors(&output);
        if output.status.success() {
            continue;
        }
        failed += 1;
        let last = error.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{blocks}: {error}");
        assert!(last.starts_with("error: "), "{blocks}: {error}");
        assert!(last.contains("(`ulimit -f`)"), "{blocks}: {error}");
        for hidden in [".unfinished", ".tmp"] {
            assert!(!last.contains(hidden), "{blocks}: {error}");
        }
    }
    assert!(failed > 3);
}
