//! Outputs: nothing else is replaced, and nothing is lost.
#![cfg(unix)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use ar_video::{Clip, Frame, VideoFormat, write_clip};

use super::{Folder, TINY};

fn pipe(folder: &Folder, name: &str) {
    let made = Command::new("mkfifo").arg(folder.path(name)).status();
    assert!(made.expect("mkfifo").success());
}

fn video(folder: &Folder, name: &str, frames: u8) {
    let shade = |i: u8| Frame::new(16, 16, [i * 10, 40, 200 - i * 10].repeat(16 * 16));
    let clip = Clip::new((0..frames).map(shade).collect());
    let format = VideoFormat::from_path(Path::new(name)).unwrap_or(VideoFormat::Png);
    write_clip(folder.path(name), &clip, format, 8.0).expect("a video");
}

#[test]
fn pipes_and_devices_are_written_into() {
    let folder = Folder::new();
    folder.tiny_model();
    folder.ok(&format!("{TINY} --frames 6 --out whole.gif"));
    folder.ok(&format!("{TINY} --frames 6 --out whole.rgb"));
    pipe(&folder, "pipe");
    for (format, whole) in [("gif", "whole.gif"), ("raw", "whole.rgb")] {
        let path = folder.path("pipe");
        let reader = thread::spawn(move || fs::read(path));
        folder.ok(&format!("{TINY} --frames 6 --out pipe --format {format}"));
        let read = reader.join().expect("a thread").expect("the pipe");
        assert!(read == folder.read(whole), "{format}");
    }
    let metadata = fs::metadata(folder.path("pipe")).expect("still there");
    assert!(!metadata.is_file());

    for arguments in [
        "--out /dev/null --format mp4",
        "--out /dev/null --format gif --save-latents /dev/null",
        "--out a.gif --denoising b.gif --save-latents /dev/null",
    ] {
        folder.ok(&format!("{TINY} {arguments}"));
        assert!(!fs::metadata("/dev/null").expect("a device").is_file());
    }
    folder.ok("plan --picture whole.svg");
    let output = folder.run(&format!("{TINY} --out /dev/full --format gif"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn links_are_followed_and_permissions_stay() {
    let folder = Folder::new();
    folder.tiny_model();
    fs::create_dir(folder.path("there")).expect("a folder");
    for name in ["v.gif", "l.safetensors", "d.apng", "p.svg"] {
        fs::write(folder.path(&format!("there/{name}")), "old").expect("a file");
        let mode = Permissions::from_mode(0o600);
        fs::set_permissions(folder.path(&format!("there/{name}")), mode).expect("a mode");
        symlink(format!("there/{name}"), folder.path(name)).expect("a link");
    }
    folder.ok(&format!(
        "{TINY} --out v.gif --save-latents l.safetensors --denoising d.apng"
    ));
    folder.ok("plan --picture p.svg");
    for name in ["v.gif", "l.safetensors", "d.apng", "p.svg"] {
        assert!(folder.path(name).is_symlink(), "{name}");
        let metadata = fs::metadata(folder.path(&format!("there/{name}"))).expect("a file");
        assert!(metadata.len() > 3, "{name}");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    // A folder of frames behind a link.
    fs::create_dir(folder.path("there/frames")).expect("a folder");
    symlink("there/frames", folder.path("frames")).expect("a link");
    folder.ok(&format!("{TINY} --frames 4 --out frames --format png"));
    assert!(folder.path("frames").is_symlink());
    assert_eq!(folder.frames("there/frames").len(), 4);
}

#[test]
fn an_output_does_not_replace_an_input() {
    let folder = Folder::new();
    folder.tiny_model();
    video(&folder, "a.gif", 3);
    video(&folder, "frames", 3);
    symlink("a.gif", folder.path("soft.gif")).expect("a link");
    fs::hard_link(folder.path("a.gif"), folder.path("hard.gif")).expect("a link");
    folder.write_tensor("n.safetensors", "x_T", &[0.5; 16 * 4], &[1, 4, 4, 4]);
    fs::copy(folder.path("a.gif"), folder.path("m-1.gif")).expect("a copy");
    for (arguments, what) in [
        ("--prefix a.gif --out a.gif", "--out would change a.gif"),
        ("--prefix a.gif --out ./tiny/../a.gif", "--prefix"),
        ("--prefix a.gif --out soft.gif", "--prefix"),
        ("--prefix hard.gif --out a.gif", "--prefix"),
        (
            "--prefix a.gif --out b.gif --denoising hard.gif",
            "--denoising would change",
        ),
        (
            "--prefix a.gif --out b.gif --save-latents soft.gif",
            "--save-latents would",
        ),
        ("--prefix m-1.gif --count 3 --out m.gif", "--prefix"),
        ("--prefix frames --out frames --format png", "--prefix"),
        (
            "--prefix frames/frame_00001.png --out frames --format png",
            "--prefix",
        ),
        // Into the folder.
        (
            "--prefix frames --out frames/0.gif",
            "--out would change frames, which is the input of --prefix",
        ),
        (
            "--prefix frames --out frames/new/0.rgb --count 2",
            "--prefix",
        ),
        (
            "--prefix frames --out frames/new --format png",
            "--out would change frames",
        ),
        (
            "--prefix frames --out b.gif --denoising ./frames/d.gif",
            "--denoising would change",
        ),
        (
            "--prefix frames --out b.gif --save-latents frames/l",
            "--save-latents would change",
        ),
        (
            "--noise n.safetensors --out b.gif --save-latents ./n.safetensors",
            "--save-latents would change n.safetensors, which is the input of --noise",
        ),
        (
            "--out b.gif --save-latents tiny/vae.safetensors",
            "which is the input of --model",
        ),
        // And two outputs are two files.
        ("--out b.gif --save-latents ./b.gif", "are both ./b.gif"),
        (
            "--out a.gif --save-latents hard.gif",
            "--out and --save-latents are both",
        ),
        (
            "--count 2 --out m.rgb --save-latents m-0.rgb",
            "are both m-0.rgb",
        ),
        (
            "--count 12 --out m.rgb --save-latents tiny/../m-07.rgb",
            "are both",
        ),
        (
            "--denoising d.gif --save-latents ./d.gif",
            "--denoising and --save-latents",
        ),
        (
            "--out f --format png --save-latents f/l.safetensors",
            "are both",
        ),
    ] {
        folder.fails(&format!("{TINY} {arguments}"), what);
    }
    for (arguments, what) in [
        ("reconstruct a.gif --out a.gif", "--out would change a.gif"),
        ("reconstruct a.gif --out soft.gif", "would change"),
        (
            "reconstruct frames --out frames --format png",
            "would change",
        ),
        ("reconstruct frames --out frames/a.gif", "would change"),
    ] {
        folder.fails(&format!("{arguments} --model tiny"), what);
    }
    assert_eq!(folder.frames("a.gif").len(), 3);
    assert_eq!(folder.frames("frames").len(), 3);
    // Numbers that belong to no video.
    folder.ok(&format!(
        "{TINY} --count 2 --out m.rgb --save-latents m-00.rgb"
    ));
}

/// Whatever the standard output is, and however it is named.
#[test]
fn the_standard_output_takes_one_output() {
    let folder = Folder::new();
    folder.tiny_model();
    symlink("/dev/stdout", folder.path("out.gif")).expect("a link");
    pipe(&folder, "pipe");
    for (outputs, options) in [
        (
            "--out - --save-latents /dev/stdout",
            "--out and --save-latents",
        ),
        ("--out - --save-latents /proc/self/fd/1", "--out and"),
        ("--out - --save-latents /dev/fd/1", "--out and"),
        ("--out - --denoising out.gif", "--out and --denoising"),
        (
            "--out /dev/stdout --format mp4 --save-latents /dev/fd/1",
            "--out and",
        ),
        (
            "--denoising out.gif --save-latents /dev/stdout",
            "--denoising and",
        ),
    ] {
        for reader in [">file", "| cat >file", "> >(cat >file)", ">>file"] {
            let line = format!("set -o pipefail; $AR {TINY} {outputs} {reader}");
            let output = folder.shell(&line);
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{line}: {error}");
            let expected = format!("error: {options}");
            assert!(
                error.starts_with(&expected) && error.lines().count() == 1,
                "{line}: {error}"
            );
        }
    }
    // The file by its name, and a named pipe twice.
    for line in [
        "--out - --save-latents file >file",
        "--out - --format raw --save-latents ./file >>file",
        "--out pipe --format gif --save-latents pipe",
        "--out - --save-latents pipe <>pipe >&0",
    ] {
        let output = folder.shell(&format!("$AR {TINY} {line}"));
        assert_eq!(output.status.code(), Some(2), "{line}");
    }
    // If an output is written there, messages go to the standard error.
    folder.ok(&format!("{TINY} --out whole.gif --save-latents whole"));
    for (outputs, whole) in [
        ("--out /dev/stdout --format gif", "whole.gif"),
        ("--out v.gif --save-latents /dev/stdout", "whole"),
    ] {
        let output = folder.shell(&format!("$AR {TINY} {outputs} --json | cat"));
        assert!(output.stdout == folder.read(whole), "{outputs}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("\"outputs\":"), "{said}");
    }
    symlink("/dev/stdout", folder.path("plan.svg")).expect("a link");
    folder.ok("plan --picture whole.svg");
    let output = folder.shell("$AR plan --picture plan.svg | cat");
    assert!(output.stdout == folder.read("whole.svg"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("iterations"));
    // The null device keeps nothing, so nothing is lost.
    let line = format!("$AR {TINY} --out - --save-latents /dev/null >/dev/null");
    assert!(folder.shell(&line).status.success());
}

/// Names can contain characters that move the cursor or break the line.
#[test]
fn names_of_files_are_escaped() {
    let folder = Folder::new();
    folder.tiny_model();
    let named = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ar-sample"))
            .current_dir(folder.0.path())
            .args("--steps 4 --ar-step 2".split_whitespace())
            .args(arguments)
            .output()
            .expect("the command starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("text");
        let is_plain = said.chars().all(|c| !c.is_control() || c == '\n');
        assert!(is_plain && said.contains("a\\n\\u{1b}[2Jb"), "{said:?}");
        said
    };
    let out = "a\n\u{1b}[2Jb.gif";
    named(&["--model", "tiny", "--out", out]);
    assert!(folder.path(out).is_file());
    for arguments in [
        &["--model", "tiny", "--prefix", "a\n\u{1b}[2Jb.none"][..],
        &["--model", "a\n\u{1b}[2Jb"],
        &["--model", "tiny", "--out", out, "--save-latents", out],
    ] {
        assert_eq!(named(arguments).lines().count(), 1);
    }
}

#[test]
fn what_is_known_before_is_said_before() {
    let folder = Folder::new();
    folder.tiny_model();
    let long = "x".repeat(300);
    fs::create_dir(folder.path("v-1.gif")).expect("a folder");
    fs::create_dir(folder.path("f.frames")).expect("a folder");
    fs::write(folder.path("f.frames/notes.txt"), "mine").expect("a file");
    for (arguments, what) in [
        (format!("--out {long}.gif"), "too long"),
        (format!("--save-latents {long}"), "too long"),
        ("--count 3 --out v.gif".into(), "v-1.gif"),
        ("--out f.frames".into(), "notes.txt"),
        ("--out b.gif --save-latents -".into(), "./-"),
        ("--out b.gif --denoising -".into(), "./-"),
        (
            "--count 1000000000 --out b.gif".into(),
            "--count is 1000000000",
        ),
        (
            "--count 1000000000 --part 0/10 --out b.gif".into(),
            "--count is 100000000",
        ),
    ] {
        folder.fails(&format!("{TINY} {arguments}"), what);
    }
    folder.fails("plan --picture -", "./-");
    let seed = folder.run("--seed -1");
    let error = String::from_utf8_lossy(&seed.stderr);
    assert_eq!(seed.status.code(), Some(2));
    assert!(error.contains("a seed is a whole number from 0"), "{error}");
    // A part of very many videos.
    folder.ok(&format!(
        "{TINY} --frames 1 --count 1000000 --part 0/1000000 --out part.gif"
    ));
    assert!(folder.path("part-000000.gif").is_file());
}

#[test]
fn a_tilde_is_home() {
    let folder = Folder::new();
    folder.tiny_model();
    let output = Command::new(env!("CARGO_BIN_EXE_ar-sample"))
        .current_dir(folder.0.path())
        .env("HOME", folder.path("home"))
        .args(TINY.split_whitespace())
        .args(["--out", "~/x.gif", "--save-latents=~/new/l.safetensors"])
        .output()
        .expect("the command starts");
    assert!(output.status.success());
    assert!(folder.path("home/x.gif").is_file());
    assert!(folder.path("home/new/l.safetensors").is_file());
    assert!(!folder.path("~").exists());
    for argument in [
        "--out ~root/x.gif",
        "--out=~root/x.gif",
        "--save-latents ~root",
    ] {
        folder.fails(&format!("{TINY} {argument}"), "./~root");
    }
    folder.ok(&format!("{TINY} --out ./~root/x.gif"));
}

#[test]
fn a_closed_pipe_does_not_hide_what_is_not_written() {
    let folder = Folder::new();
    folder.tiny_model();
    let output = folder.shell(&format!(
        "$AR {TINY} --frames 100000 --out - --format raw --save-latents l.safetensors \
             | head -c 5000 >video; exit ${{PIPESTATUS[0]}}"
    ));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("l.safetensors is not written"), "{error}");
    assert!(!folder.path("l.safetensors").exists());
    // If only the video was requested, closing it is not an error.
    let line = format!("$AR {TINY} --frames 100000 --out - --format raw | head -c 5000 >video");
    assert!(
        folder
            .shell(&format!("set -o pipefail; {line}"))
            .status
            .success()
    );
}

#[test]
fn messages_that_nobody_hears_end_nothing() {
    let folder = Folder::new();
    folder.tiny_model();
    folder.ok(&format!("{TINY} --out expected.gif"));
    for (number, redirection) in ["2>/dev/full", "2>&-", ">&- 2>&-", "2> >(true)"]
        .into_iter()
        .enumerate()
    {
        let line = format!("$AR {TINY} --out {number}.gif {redirection}");
        let output = folder.shell(&line);
        assert!(output.status.success(), "{redirection}");
        assert!(folder.read(&format!("{number}.gif")) == folder.read("expected.gif"));
    }
}

/// Ctrl-C in a terminal reaches every process of the command line, here also `tee`, which ends at
/// once.
#[test]
fn an_interrupt_that_ends_the_reader_of_messages_keeps_the_video() {
    let folder = Folder::new();
    folder.tiny_model();
    let shade = |i: usize| Frame::new(16, 16, [i as u8, 40, 99].repeat(16 * 16));
    let long = Clip::new((0..20_000).map(shade).collect());
    write_clip(folder.path("long.gif"), &long, VideoFormat::Gif, 8.0).expect("a video");
    for command in [
        format!("{TINY} --frames 1000000 --out kept.gif"),
        "reconstruct long.gif --model tiny --out kept.gif".to_owned(),
    ] {
        let line =
            format!("trap : INT; $AR {command} 2>&1 | tee log; echo ${{PIPESTATUS[0]}} >code");
        let mut process = Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.0.path())
            .env("AR", env!("CARGO_BIN_EXE_ar-sample"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let unfinished = |least: u64| {
            let files = folder.list().into_iter();
            files
                .filter(|path| path.to_string_lossy().contains(".unfinished-"))
                .filter(|path| fs::metadata(path).is_ok_and(|file| file.len() >= least))
                .count()
        };
        while unfinished(4096) == 0 {
            assert!(process.try_wait().expect("a status").is_none(), "{command}");
            thread::sleep(Duration::from_millis(5));
        }
        let killed = Command::new("kill")
            .args(["-INT", "--", &format!("-{}", process.id())])
            .status();
        assert!(killed.expect("kill").success());
        process.wait().expect("an end");
        assert_eq!(folder.read("code"), b"130\n", "{command}");
        let kept = folder.frames("kept.gif").len();
        assert!(
            (1..1_000_000).contains(&kept)
                && (!command.starts_with("reconstruct") || kept < 20_000),
            "{command}: {kept}"
        );
        assert_eq!(unfinished(0), 0);
        fs::remove_file(folder.path("kept.gif")).expect("removed");
    }
}
