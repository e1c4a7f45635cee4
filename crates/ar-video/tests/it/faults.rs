//! Files that were read wrongly, or not at all, by some version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ar_video::{Clip, Ffmpeg, Frame, VideoError, VideoFormat, VideoReader, read_clip, write_clip};
use tempfile::tempdir;

use crate::{has_ffmpeg, smooth};

fn fault(name: &str) -> PathBuf {
    Path::new("tests/faults").join(name)
}

fn count(path: &Path) -> usize {
    read_clip(path).unwrap().frames().len()
}

/// Makes `name` in `folder` with the system's ffmpeg.
fn make(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(arguments.split(' '))
        .arg(&path)
        .current_dir(folder)
        .status();
    assert!(status.unwrap().success(), "{name}");
    path
}

const PATTERN: &str = "-f lavfi -i testsrc=size=96x64:duration=1:rate=25";

#[test]
fn gifs_need_no_clean_end() {
    for name in ["garbage", "notrailer", "nulbefore", "nulmid", "trailnul"] {
        assert_eq!(count(&fault(&format!("gif-{name}.gif"))), 8, "{name}");
    }
}

#[test]
fn animated_webp_is_disposed_of_as_specified() {
    let clip = read_clip(fault("disposal.webp")).unwrap();
    let red_rows = |frame: &Frame| {
        let is_red = |pixel: &[u8]| pixel[0] > 150 && pixel[1] < 100 && pixel[2] < 100;
        let rows = frame.rgb().chunks(frame.width() * 3);
        rows.filter(|row| row.chunks(3).any(is_red)).count()
    };
    let rows: Vec<usize> = clip.frames().iter().map(red_rows).collect();
    assert_eq!(rows, [15; 8]);
}

#[test]
fn a_panic_of_a_decoder_is_an_error_of_the_file() {
    for name in ["panic-decoder.webp", "panic-yuv.webp"] {
        let error = read_clip(fault(name)).unwrap_err();
        assert!(matches!(error, VideoError::Decode { .. }), "{error}");
        assert!(!error.is_environment());
    }
}

#[test]
fn a_cover_is_no_video() {
    if !has_ffmpeg() {
        return;
    }
    let clip = read_clip(fault("cover-first.mp4")).unwrap();
    assert_eq!((clip.frames().len(), clip.width()), (10, 96));
    let folder = tempdir().unwrap();
    let cover = make(
        folder.path(),
        "cover.png",
        &format!("{PATTERN} -frames:v 1"),
    );
    let inputs = format!("-f lavfi -i sine=duration=1 -i {}", cover.display());
    let sound = make(
        folder.path(),
        "sound.mp4",
        &format!("{inputs} -map 0 -map 1 -c:v png -disposition:v attached_pic"),
    );
    let error = read_clip(&sound).unwrap_err().to_string();
    assert!(
        error.ends_with("a cover picture does not count)"),
        "{error}"
    );
}

/// Damage is reported in the same way every time, and an intact file never is.
#[test]
fn a_damaged_video_has_one_verdict() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    write_clip(&path, &smooth(96, 64, 24), VideoFormat::Mp4, 25.0).unwrap();
    let bytes = fs::read(&path).unwrap();
    for at in (bytes.len() / 5..bytes.len() * 4 / 5).step_by(bytes.len() / 12) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        let verdict = || read_clip(&path).map_err(|error| error.to_string());
        let first = verdict();
        for _ in 0..3 {
            assert!(verdict() == first, "byte {at}");
        }
    }
}

#[test]
fn videos_that_end_early_are_refused() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    for (name, codec) in [
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx"),
        ("a.y4m", "wrapped_avframe -pix_fmt yuv420p"),
        ("a.avi", "mpeg4"),
        ("a.mov", "mpeg4"),
    ] {
        let path = make(folder.path(), name, &format!("{PATTERN} -c:v {codec}"));
        assert_eq!(count(&path), 25, "{name}");
        let bytes = fs::read(&path).unwrap();
        for part in [40, 73, 95] {
            fs::write(&path, &bytes[..bytes.len() * part / 100]).unwrap();
            let error = read_clip(&path).err();
            let error = error.unwrap_or_else(|| panic!("{name}: {part} % read"));
            assert!(!error.is_environment(), "{name}: {error}");
        }
    }
}

#[test]
fn joined_transport_streams_are_whole() {
    if !has_ffmpeg() {
        return;
    }
    assert_eq!(count(&fault("joined.ts")), 12);
    let folder = tempdir().unwrap();
    let path = make(folder.path(), "a.ts", &format!("{PATTERN} -c:v libx264"));
    assert_eq!(count(&path), 25);
    // Two packets of 188 bytes, as lost by a network.
    let mut bytes = fs::read(&path).unwrap();
    bytes.drain(188 * 40..188 * 42);
    fs::write(&path, bytes).unwrap();
    let error = read_clip(&path).unwrap_err();
    assert!(matches!(error, VideoError::Ffmpeg { .. }), "{error}");
}

#[test]
fn motion_jpeg_has_all_its_frames() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    for name in ["a.mjpeg", "a.mjpg"] {
        let path = make(folder.path(), name, &format!("{PATTERN} -f mjpeg"));
        assert_eq!(count(&path), 25, "{name}");
    }
}

/// The left half is transparent with a hidden colour; all containers show black.
#[test]
fn transparency_is_black_everywhere() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let half = "geq=r=255:g=0:b=0:a='if(lt(X,16),0,255)'";
    let source =
        format!("-f lavfi -i color=c=red:size=32x32:duration=0.2:rate=25,format=rgba,{half}");
    for (name, codec) in [
        ("a.mov", "qtrle"),
        ("a.mkv", "ffv1 -pix_fmt bgra"),
        ("a.webm", "libvpx-vp9 -pix_fmt yuva420p"),
        ("b.webm", "libvpx -auto-alt-ref 0 -pix_fmt yuva420p"),
        ("a.apng", "apng"),
    ] {
        let path = make(folder.path(), name, &format!("{source} -c:v {codec}"));
        let clip = read_clip(&path).unwrap();
        assert_eq!(clip.frames().len(), 5, "{name}");
        for frame in clip.frames() {
            let pixel = |x: usize| &frame.rgb()[(8 * 32 + x) * 3..][..3];
            assert!(pixel(4).iter().all(|&value| value < 8), "{name}: {frame:?}");
            assert!(pixel(28)[0] > 240 && pixel(28)[1] < 16, "{name}");
        }
    }
}

#[test]
fn pixels_are_square() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    for (aspect, size) in [
        ("1/1", (96, 64)),
        ("4/3", (128, 64)),
        ("1/2", (96, 128)),
        // One ratio that nobody would notice, and one that cannot be intended.
        ("101/100", (96, 64)),
        ("50/1", (96, 64)),
    ] {
        let name = format!("{}.mkv", aspect.replace('/', "x"));
        let path = make(
            folder.path(),
            &name,
            &format!("{PATTERN} -vf setsar={aspect} -c:v ffv1"),
        );
        let reader = VideoReader::open(&path).unwrap();
        assert_eq!(reader.size(), size, "{aspect}");
    }
}

/// The same picture with different matrices: a reader that respects the tag gets the same colours.
#[test]
fn colour_tags_are_read() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let tagged = |matrix: &str| {
        let tag = match matrix {
            "bt601" => "smpte170m",
            "bt2020" => "bt2020nc",
            matrix => matrix,
        };
        let name = format!("{matrix}.mp4");
        let colour = "-f lavfi -i color=c=0x20d040:size=64x64:duration=0.2:rate=25";
        let convert = format!("-vf scale=out_color_matrix={matrix},format=yuv444p");
        let path = make(
            folder.path(),
            &name,
            &format!("{colour} {convert} -colorspace {tag} -c:v libx264 -qp 0"),
        );
        let clip = read_clip(&path).unwrap();
        clip.frames()[0].rgb()[..3].to_vec()
    };
    for matrix in ["bt601", "bt709", "bt2020"] {
        let found = tagged(matrix);
        let near = found
            .iter()
            .zip([0x20_u8, 0xd0, 0x40])
            .all(|(&found, meant)| found.abs_diff(meant) <= 3);
        assert!(near, "{matrix}: {found:?}");
    }
}

/// Only the file itself is opened.
#[test]
fn files_that_name_others_are_refused() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempdir().unwrap();
    let secret = make(
        folder.path(),
        "secret.ts",
        &format!("{PATTERN} -c:v libx264"),
    );
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let secret = secret.display();
    let hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n";
    for (path, format) in [
        (
            write("hls.mp4", format!("{hls}{secret}\n#EXT-X-ENDLIST\n")),
            "hls",
        ),
        (
            write("list.mp4", format!("ffconcat version 1.0\nfile {secret}\n")),
            "concat",
        ),
    ] {
        let error = read_clip(&path).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!(
                "files of the format {format} are not read as videos"
            )),
            "{error}"
        );
    }
    // A name is only a name, and not a pattern.
    for number in [1, 2] {
        let name = format!("g{number}.tiff");
        make(folder.path(), &name, &format!("{PATTERN} -frames:v 1"));
    }
    let pattern = folder.path().join("g%d.tiff");
    fs::copy(folder.path().join("g1.tiff"), &pattern).unwrap();
    let error = read_clip(&pattern).unwrap_err();
    assert!(matches!(error, VideoError::UnreadFormat { .. }), "{error}");
    let path = folder.path().join("g%d.mp4");
    let clip = Clip::new(smooth(32, 32, 2).into_frames());
    write_clip(&path, &clip, VideoFormat::Mp4, 25.0).unwrap();
    assert_eq!(count(&path), 2);
}

/// Formats that need ffmpeg are the only ones that do.
#[test]
fn faults_are_found_without_ffmpeg() {
    let none = Ffmpeg::new("no-such-ffmpeg");
    let reader = VideoReader::open_with(fault("gif-notrailer.gif"), &none).unwrap();
    assert_eq!(reader.count(), 8);
}
