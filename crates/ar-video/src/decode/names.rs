//! What names of files say about their contents.

use std::path::Path;

/// What a name of a file says about its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Video,
    Picture,
    /// A picture of a kind that is not read.
    OtherPicture,
    /// Text, sound, numbers: files that are found beside videos.
    Beside,
    Unknown,
}

const VIDEOS: [&str; 81] = [
    "264", "265", "266", "3g2", "3gp", "3gpp", "amv", "apng", "asf", "av1", "avc", "avi", "bik",
    "bk2", "cavs", "cdxl", "cine", "divx", "dv", "evo", "f4v", "flc", "fli", "flv", "gif", "gxf",
    "h261", "h263", "h264", "h265", "hevc", "ifv", "ivf", "ivr", "lvf", "m1v", "m2p", "m2t",
    "m2ts", "m2v", "m4v", "mj2", "mjp2", "mjpeg", "mjpg", "mk3d", "mkv", "mov", "mp4", "mp4v",
    "mpe", "mpeg", "mpg", "mpv", "mqv", "mts", "mxf", "mxg", "nsv", "nut", "nuv", "obu", "ogg",
    "ogm", "ogv", "qt", "rm", "rmvb", "roq", "ser", "smk", "tod", "ts", "vc1", "vob", "vro", "vvc",
    "webm", "wmv", "wtv", "y4m",
];

/// Motion JPEG starts like a still JPEG, and only the name distinguishes them.
pub(super) const MOTION_JPEG_EXTENSIONS: [&str; 2] = ["mjpeg", "mjpg"];

const PICTURES: [&str; 7] = ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "webp"];

const OTHER_PICTURES: [&str; 30] = [
    "arw", "avif", "cin", "cr2", "dds", "dng", "dpx", "exr", "hdr", "heic", "heif", "ico", "j2k",
    "jp2", "jxl", "nef", "pam", "pbm", "pcx", "pfm", "pgm", "pnm", "ppm", "psd", "qoi", "sgi",
    "svg", "tga", "tif", "tiff",
];

const BESIDE: [&str; 56] = [
    "aac",
    "ac3",
    "aif",
    "aiff",
    "arrow",
    "ass",
    "bat",
    "cfg",
    "csv",
    "db",
    "flac",
    "h5",
    "hdf5",
    "htm",
    "html",
    "ini",
    "ipynb",
    "json",
    "jsonl",
    "lock",
    "log",
    "m4a",
    "mat",
    "md",
    "md5",
    "mid",
    "mp3",
    "ndjson",
    "nfo",
    "npy",
    "npz",
    "opus",
    "parquet",
    "pdf",
    "pickle",
    "pkl",
    "pt",
    "pth",
    "py",
    "rst",
    "safetensors",
    "sh",
    "sha1",
    "sha256",
    "srt",
    "ssa",
    "sub",
    "toml",
    "tsv",
    "txt",
    "vtt",
    "wav",
    "wma",
    "xml",
    "yaml",
    "yml",
];

/// Files without an extension that are found beside videos.
const BESIDE_STEMS: [&str; 6] = [
    "readme", "license", "licence", "copying", "notice", "makefile",
];

pub(super) fn named(path: &Path) -> Named {
    let is_beside = |stem: &str| {
        path.file_stem()
            .is_some_and(|name| name.eq_ignore_ascii_case(stem))
    };
    if has_extension(path, &VIDEOS) {
        Named::Video
    } else if has_extension(path, &PICTURES) {
        Named::Picture
    } else if has_extension(path, &OTHER_PICTURES) {
        Named::OtherPicture
    } else if has_extension(path, &BESIDE) || BESIDE_STEMS.into_iter().any(is_beside) {
        Named::Beside
    } else {
        Named::Unknown
    }
}

/// Whether the name starts with a dot; a path without a name counts as hidden too.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether the name ends in one of these extensions, in any case.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .is_some_and(|e| extensions.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_inside() {
        for (name, kind) in [
            ("a.mp4", Named::Video),
            ("a.AVI", Named::Video),
            ("folder/b.c.webm", Named::Video),
            ("x.gif", Named::Video),
            ("-.mkv", Named::Video),
            ("a.PNG", Named::Picture),
            ("a.tif", Named::OtherPicture),
            ("a.txt", Named::Beside),
            ("README", Named::Beside),
            ("LICENSE.old", Named::Beside),
            ("mp4", Named::Unknown),
            ("a.mp4.part", Named::Unknown),
            ("a", Named::Unknown),
            ("", Named::Unknown),
            ("/", Named::Unknown),
            ("..", Named::Unknown),
        ] {
            assert_eq!(named(Path::new(name)), kind, "{name}");
        }
        for name in [".mp4", "._a.mp4", "", "/", ".."] {
            assert!(is_hidden(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn every_extension_is_listed_once() {
        let mut all = [&VIDEOS[..], &PICTURES, &OTHER_PICTURES, &BESIDE].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
