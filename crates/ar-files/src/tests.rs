use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a list");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .map(|name| name.expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_folder_is_not_overwritten() {
    let folder = folder();
    let error = check_writable(folder.path()).expect_err("a folder");
    assert!(error.to_string().contains("folder"), "{error}");
    assert!(write_atomically(folder.path(), b"").is_err());
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let folder = folder();
    let path = folder.path().join("out");
    fs::write(&path, "old").expect("a file");
    check_writable(&path).expect("a file that can be replaced");
    let mut file = OutputFile::create(&path).expect("a file");
    file.write_all(b"half").expect("written");
    drop(file);
    assert_eq!(fs::read(&path).expect("a file"), b"old");
    assert_eq!(names(folder.path()), ["out"]);
}

#[cfg(unix)]
#[test]
fn permissions_stay_and_links_are_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("there")).expect("a folder");
    fs::write(path("there/old"), "old").expect("a file");
    for mode in [0o640, 0o600, 0o755] {
        fs::set_permissions(path("there/old"), fs::Permissions::from_mode(mode)).expect("a mode");
        symlink("there/old", path("link")).expect("a link");
        check_writable(path("link")).expect("a file that can be replaced");
        write_atomically(path("link"), b"new").expect("written");
        assert!(path("link").is_symlink());
        let metadata = fs::metadata(path("there/old")).expect("a file");
        assert_eq!(metadata.permissions().mode() & 0o7777, mode);
        assert_eq!(fs::read(path("there/old")).expect("a file"), b"new");
        fs::remove_file(path("link")).expect("removed");
    }
    // Where nothing exists yet.
    symlink("there/new", path("link")).expect("a link");
    write_atomically(path("link"), b"new").expect("written");
    assert_eq!(fs::read(path("there/new")).expect("a file"), b"new");
    assert_eq!(names(&path("there")), ["new", "old"]);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_written_into() {
    use std::io::Read;

    let folder = folder();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    check_writable(&pipe).expect("a pipe");
    assert!(is_stream(&pipe).expect("a pipe"));
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut text = String::new();
            let file = fs::File::open(pipe);
            file.and_then(|mut file| file.read_to_string(&mut text))
                .map(|_| text)
        }
    });
    write_atomically(&pipe, b"all of it").expect("written");
    let read = reader.join().expect("a thread").expect("read");
    assert_eq!(read, "all of it");
    assert_eq!(names(folder.path()), ["pipe"]);

    check_writable("/dev/null").expect("a device");
    write_atomically("/dev/null", b"gone").expect("written");
    let device = fs::metadata("/dev/null").expect("still there");
    assert!(!device.is_file());
    assert!(write_atomically("/dev/full", b"x").is_err());
}

#[cfg(unix)]
#[test]
fn what_cannot_be_replaced_is_known_before() {
    let folder = folder();
    let long = folder.path().join("x".repeat(300));
    assert!(check_writable(&long).is_err());
    assert!(check_writable(folder.path().join("a/b").join("x".repeat(300))).is_err());
    // Something is mounted on most of these in any container, and none of them is replaced.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .find(|place| place.starts_with("/etc/") && Path::new(place).is_file());
    if let Some(mounted) = mounted {
        let error = check_writable(mounted).expect_err(mounted).to_string();
        assert!(error.contains("mounted"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_finished_file_that_cannot_be_moved_is_kept() {
    let folder = folder();
    let path = folder.path().join("out");
    let mut file = OutputFile::create(&path).expect("a file");
    file.write_all(b"precious").expect("written");
    // Something gets in the way meanwhile.
    fs::create_dir(&path).expect("a folder");
    let error = file.persist().expect_err("no file").to_string();
    let kept = error.rsplit(' ').next().expect("a word");
    assert!(kept.contains(".finished-"), "{error}");
    assert_eq!(fs::read(kept).expect("the file"), b"precious");
}

fn is_frame(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"frame_")
}

#[test]
fn a_folder_is_replaced_as_a_whole() {
    let folder = folder();
    let path = folder.path().join("new/frames");
    for frames in [3, 2] {
        OutputFolder::check(&path, is_frame).expect("a folder that can be replaced");
        let output = OutputFolder::create(&path, is_frame).expect("a folder");
        for frame in 0..frames {
            fs::write(output.path().join(format!("frame_{frame}")), "x").expect("written");
        }
        output.persist().expect("moved");
        assert_eq!(names(&path).len(), frames);
        assert_eq!(names(path.parent().expect("above")), ["frames"]);
    }
    drop(OutputFolder::create(&path, is_frame).expect("a folder"));
    assert_eq!(names(&path), ["frame_0", "frame_1"]);
    fs::write(path.join("notes.txt"), "mine").expect("written");
    for error in [
        OutputFolder::check(&path, is_frame).expect_err("other files"),
        OutputFolder::create(&path, is_frame).expect_err("other files"),
    ] {
        assert!(error.to_string().contains("notes.txt"), "{error}");
    }
    let file = path.join("notes.txt");
    assert!(OutputFolder::create(file, is_frame).is_err());
}

#[cfg(unix)]
#[test]
fn files_are_told_by_what_they_are() {
    use std::os::unix::fs::symlink;

    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("a")).expect("a folder");
    fs::write(path("a/file"), "").expect("a file");
    fs::hard_link(path("a/file"), path("hard")).expect("a link");
    symlink("a/file", path("soft")).expect("a link");
    symlink("a", path("folder")).expect("a link");
    symlink("a/new", path("soon")).expect("a link");
    for (one, other) in [
        ("a/file", "a/../a/./file"),
        ("a/file", "hard"),
        ("a/file", "soft"),
        ("a/file", "folder/file"),
        ("a/new", "folder/new"),
        ("a/new", "soon"),
        ("new/below/file", "new/./below/file"),
    ] {
        assert!(is_same_file(path(one), path(other)), "{one} {other}");
        assert!(!is_same_file(path(one), path("b")), "{one}");
    }
    assert!(lies_in(path("soft"), path("folder")));
    assert!(lies_in(path("a"), path("folder")));
    assert!(lies_in(path("soon"), path("a")));
    assert!(!lies_in(path("a"), path("a/file")));
    // Several outputs may be written to the null device, and to nothing else.
    assert!(!is_same_file("/dev/null", "/dev/null"));
    assert!(is_same_file("/dev/full", "/dev/full"));
    let made = std::process::Command::new("mkfifo")
        .arg(path("pipe"))
        .status();
    assert!(made.expect("mkfifo").success());
    symlink("pipe", path("to-pipe")).expect("a link");
    assert!(is_same_file(path("pipe"), path("to-pipe")));
    assert!(!is_same_file(path("pipe"), path("a/file")));
}
