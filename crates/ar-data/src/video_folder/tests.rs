use super::*;
use crate::Split;
use std::fs;
use tempfile::TempDir;

const SIZE: usize = 8;

/// Writes a video as a folder of pictures; frame `t` is plain
/// `[first + t, 2 * t, 200]`.
fn write_video(folder: &Path, first: u8, frames: u8) {
    fs::create_dir_all(folder).unwrap();
    for t in 0..frames {
        let file = fs::File::create(folder.join(format!("{t:04}.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, SIZE as u32, SIZE as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let pixels = [first + t, 2 * t, 200].repeat(SIZE * SIZE);
        encoder
            .write_header()
            .unwrap()
            .write_image_data(&pixels)
            .unwrap();
    }
}

fn config(frames: usize, skip: Option<usize>) -> VideoFolderConfig {
    VideoFolderConfig {
        size: SIZE,
        frames,
        skip,
        ..Default::default()
    }
}

fn open(root: &Path, config: VideoFolderConfig) -> VideoFolder {
    VideoFolder::open(root, config, Selection::default(), 2, |_, _| ()).unwrap()
}

fn error(root: &Path, config: VideoFolderConfig) -> String {
    VideoFolder::open(root, config, Selection::default(), 2, |_, _| ())
        .unwrap_err()
        .to_string()
}

/// The red values of an item's frames, which say which frames they are.
fn reds(folder: &VideoFolder, index: usize) -> Vec<u8> {
    let item = folder.get(index).unwrap();
    let frames = item.clip.frames().iter();
    frames
        .map(|frame| {
            assert_eq!((frame.width(), frame.height()), (SIZE, SIZE));
            let pixel = &frame.rgb()[..3];
            assert!(frame.rgb().chunks(3).all(|p| p == pixel));
            pixel[0]
        })
        .collect()
}

/// Videos `a` with 10 frames from 0 on and `b/c` with 5 frames from 100 on.
fn two_videos() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    write_video(&root.path().join("a"), 0, 10);
    write_video(&root.path().join("b/c"), 100, 5);
    fs::write(root.path().join("b/notes.txt"), "no video").unwrap();
    root
}

#[test]
fn clips_follow_each_other() {
    let root = two_videos();
    let mut calls = Vec::new();
    let folder = VideoFolder::open(
        root.path(),
        config(4, None),
        Selection::default(),
        3,
        |done, total| {
            calls.push((done, total));
        },
    )
    .unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b/c"));
    assert_eq!(calls, [(1, 2), (2, 2)]);
    assert_eq!(
        folder.videos().collect::<Vec<_>>(),
        [(a.as_path(), 2), (b.as_path(), 1)]
    );
    assert_eq!(folder.len(), 3);
    assert_eq!(reds(&folder, 0), [0, 1, 2, 3]);
    assert_eq!(reds(&folder, 1), [4, 5, 6, 7]);
    assert_eq!(reds(&folder, 2), [100, 101, 102, 103]);
    assert_eq!(folder.origin(1), (a.as_path(), 4));
    assert_eq!(folder.get(2).unwrap().label, None);
    assert!(folder.skipped().is_empty());
}

/// Overlapping clips, clips with gaps between them, and a last clip that just fits or just does
/// not.
#[test]
fn skip_is_the_distance_of_starts() {
    let root = two_videos();
    for frames in 1..=5 {
        for skip in 1..=7 {
            let folder = open(root.path(), config(frames, Some(skip)));
            let mut expected: Vec<Vec<u8>> = Vec::new();
            for (first, length) in [(0, 10), (100, 5)] {
                let starts = (0..length)
                    .step_by(skip)
                    .filter(|start| start + frames <= length);
                expected.extend(
                    starts.map(|start| (start..start + frames).map(|t| first + t as u8).collect()),
                );
            }
            let actual: Vec<_> = (0..folder.len()).map(|i| reds(&folder, i)).collect();
            assert_eq!(actual, expected, "{frames} {skip}");
            for (i, clip) in actual.iter().enumerate() {
                assert_eq!(folder.origin(i).1, usize::from(clip[0] % 100));
            }
        }
    }
}

#[test]
fn one_video_as_root() {
    let root = two_videos();
    let folder = open(&root.path().join("b/c"), config(2, None));
    assert_eq!(folder.len(), 2);
    assert_eq!(reds(&folder, 1), [102, 103]);
}

fn of_folders() -> Selection<'static> {
    Selection {
        labels: Some(&Labels::Folders),
        list: None,
    }
}

#[test]
fn a_list_chooses_videos() {
    let root = two_videos();
    write_video(&root.path().join("d"), 50, 4);
    let list = root.path().join("train.txt");
    fs::write(&list, "d 1\ngone\n").unwrap();
    let list = VideoList::File(list);
    let selection = Selection {
        list: Some(&list),
        labels: None,
    };
    let folder = VideoFolder::open(root.path(), config(4, None), selection, 2, |_, _| ()).unwrap();
    assert_eq!(folder.len(), 1);
    assert_eq!(reds(&folder, 0)[0], 50);
    assert_eq!(folder.skipped()[0].path, root.path().join("gone"));
}

#[test]
fn videos_have_the_classes_of_their_folders() {
    let root = tempfile::tempdir().unwrap();
    write_video(&root.path().join("walk/2"), 20, 3);
    write_video(&root.path().join("run/deep/er"), 40, 3);
    write_video(&root.path().join("walk/1"), 10, 3);
    let open = || VideoFolder::open(root.path(), config(3, None), of_folders(), 2, |_, _| ());
    let folder = open().unwrap();
    assert_eq!(folder.class_names(), ["run", "walk"]);
    let items: Vec<_> = (0..3)
        .map(|i| (reds(&folder, i)[0], folder.get(i).unwrap().label))
        .collect();
    assert_eq!(items, [(40, Some(0)), (10, Some(1)), (20, Some(1))]);

    write_video(&root.path().join("alone"), 0, 3);
    let message = open().unwrap_err().to_string();
    assert!(message.ends_with("alone is not"), "{message}");
}

#[test]
fn a_table_chooses_videos() {
    let root = two_videos();
    write_video(&root.path().join("d"), 50, 4);
    let table = root.path().join("labels.csv");
    fs::write(&table, "path,class\nd,z\nb/c,y\ngone,x\n").unwrap();
    let labels = Labels::Csv(table);
    let selection = Selection {
        labels: Some(&labels),
        list: None,
    };
    let folder = VideoFolder::open(root.path(), config(4, None), selection, 2, |_, _| ()).unwrap();
    assert_eq!(folder.class_names(), ["y", "z"]);
    let items: Vec<_> = (0..2)
        .map(|i| (reds(&folder, i)[0], folder.get(i).unwrap().label))
        .collect();
    assert_eq!(items, [(100, Some(0)), (50, Some(1))]);
    let skipped: Vec<_> = folder.skipped().iter().map(|s| s.path.clone()).collect();
    assert_eq!(skipped, ["gone", "a"].map(|name| root.path().join(name)));
}

#[test]
fn short_and_broken_videos_are_skipped() {
    let root = two_videos();
    let broken = root.path().join("broken.gif");
    fs::write(&broken, b"GIF89a, but not really").unwrap();
    let config = |frames| VideoFolderConfig {
        max_unusable: 0.67,
        ..config(frames, None)
    };
    let folder = open(root.path(), config(8));
    assert_eq!(folder.len(), 1);
    let skipped = folder.skipped();
    assert_eq!(skipped.len(), 2);
    let short = SkippedFile {
        path: root.path().join("b/c"),
        kind: SkipKind::Unusable,
        reason: "it has 5 frames, but a clip has 8".to_string(),
    };
    assert!(skipped.contains(&short));
    let reason = &skipped.iter().find(|s| s.path == broken).unwrap().reason;
    assert!(
        !reason.is_empty() && !reason.contains("broken.gif"),
        "{reason}"
    );

    let report = folder.report().join("\n");
    assert!(
        report.starts_with("2 of 3 videos have no usable clip and are left out: 1 x \"")
            && report.contains("1 x \"it has 5 frames, but a clip has 8\""),
        "{report}"
    );

    let message = error(root.path(), config(11));
    assert!(message.starts_with("no video in "), "{message}");
    assert_eq!(message.lines().count(), 1);
    assert!(
        message.contains("a: it has 10 frames, but a clip has 11"),
        "{message}"
    );
    assert!(message.contains("broken.gif: "), "{message}");
}

#[test]
fn too_many_unusable_videos_are_an_error() {
    let root = two_videos();
    let share = |max_unusable| VideoFolderConfig {
        max_unusable,
        ..config(8, None)
    };
    assert_eq!(open(root.path(), share(0.5)).len(), 1);
    let message = error(root.path(), share(0.49));
    assert!(
        message.starts_with(
            "1 of 2 videos has no usable clip, more than data.videos.max_unusable = 0.49"
        ) && message.contains("it has 5 frames"),
        "{message}"
    );
    for wrong in [-0.1, 1.1, f64::NAN] {
        assert!(error(root.path(), share(wrong)).contains("has to be from 0 to 1"));
    }
    // So that a configuration is written as it was before the key existed.
    let written = toml::to_string(&share(0.5)).unwrap();
    assert!(!written.contains("max_unusable"), "{written}");
}

/// The videos in a folder and its ignored files, relative to it.
fn listing(root: &Path) -> (Vec<String>, Vec<String>) {
    let folder = open(root, config(1, None));
    let name = |path: &Path| {
        let name = path.strip_prefix(root).unwrap();
        name.display().to_string()
    };
    let skipped = folder.skipped().iter();
    let passed_over = skipped.filter(|file| file.kind == SkipKind::NoVideo);
    (
        folder.videos().map(|(path, _)| name(path)).collect(),
        passed_over
            .map(|file| format!("{}: {}", name(&file.path), file.reason))
            .collect(),
    )
}

/// A stray picture hides no videos, beside them or above.
#[test]
fn a_folder_of_frames_has_nothing_else_in_it() {
    let root = two_videos();
    let picture = root.path().join("a/0000.png");
    for stray in ["preview.png", "b/thumb.png"] {
        fs::copy(&picture, root.path().join(stray)).unwrap();
    }
    let (videos, passed_over) = listing(root.path());
    assert_eq!(videos, ["a", "b/c"]);
    let expected = ["", "b"].map(|folder| {
        format!(
            "{folder}: its pictures (1) are not the frames of a video, because it also has folders \
             with videos or pictures; a folder of frames has nothing else in it"
        )
    });
    assert_eq!(passed_over.len(), 2);
    assert!(
        expected.iter().all(|line| passed_over.contains(line)),
        "{passed_over:?}"
    );

    // Files beside frames that are not frames.
    for name in ["notes.txt", ".hidden.gif", "Thumbs.db", "README"] {
        fs::write(root.path().join("a").join(name), "x").unwrap();
    }
    fs::create_dir(root.path().join("a/empty")).unwrap();
    assert_eq!(listing(root.path()).0, videos);

    // A video beside frames, though it is broken.
    fs::write(root.path().join("b/c/clip.gif"), b"").unwrap();
    let (videos, passed_over) = listing(root.path());
    assert_eq!(videos, ["a"]);
    let line = "b/c: its pictures (5) are not the frames of a video, because it also has videos";
    assert!(
        passed_over.iter().any(|text| text.starts_with(line)),
        "{passed_over:?}"
    );
}

#[test]
fn animations_are_videos_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let clip = |value: u8| {
        let frame = |t| ar_video::Frame::new(SIZE, SIZE, vec![value + t; SIZE * SIZE * 3]);
        ar_video::Clip::new((0..3).map(frame).collect())
    };
    for (number, value) in [(0, 10), (1, 50)] {
        let path = root.path().join(format!("{number}.png"));
        ar_video::write_clip(&path, &clip(value), ar_video::VideoFormat::Apng, 10.0).unwrap();
    }
    let folder = open(root.path(), config(3, None));
    assert_eq!(folder.len(), 2);
    assert_eq!(reds(&folder, 1), [50, 51, 52]);
}

#[test]
fn files_that_are_not_read_are_listed() {
    let root = two_videos();
    for name in ["x/0.tif", "x/1.tif", "y/download", "z/a.mp4.part"] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let (videos, mut passed_over) = listing(root.path());
    passed_over.sort();
    assert_eq!(videos, ["a", "b/c"]);
    assert_eq!(
        passed_over,
        [
            "x/0.tif: files with the extension tif are not read (and 1 more in this folder)",
            "y/download: its name has no extension",
            "z/a.mp4.part: files with the extension part are not read",
        ]
    );
    let report = open(root.path(), config(1, None)).report();
    assert_eq!(report.len(), 1);
    assert!(report[0].starts_with("files and folders that are not read as videos: 1 x"));

    fs::remove_dir_all(root.path().join("a")).unwrap();
    fs::remove_dir_all(root.path().join("b")).unwrap();
    let message = error(root.path(), config(1, None));
    assert!(
        message.contains("0.tif: files with the extension tif"),
        "{message}"
    );
}

#[test]
fn reading_stops_when_asked_to() {
    struct Stop;
    impl Progress for Stop {
        fn scanned(&mut self, _: usize, _: usize) {}
        fn should_stop(&self) -> bool {
            true
        }
    }
    let root = two_videos();
    let error =
        VideoFolder::open(root.path(), config(1, None), Selection::default(), 1, Stop).unwrap_err();
    assert!(matches!(error, VideoFolderError::Interrupted), "{error}");
}

#[test]
fn nothing_there() {
    let root = tempfile::tempdir().unwrap();
    let message = error(root.path(), config(2, None));
    assert!(message.starts_with("there is no video in "), "{message}");
    let message = error(&root.path().join("missing"), config(2, None));
    assert!(message.starts_with("cannot list "), "{message}");
}

/// A frame of 300 x 300 pixels takes 270,000 bytes: 3 fit into 1 MiB. Clips that do not fit are
/// read again, with the same result.
#[test]
fn memory_is_limited() {
    let root = two_videos();
    let limited = |max_memory_mib| VideoFolderConfig {
        size: 300,
        max_memory_mib,
        ..config(3, Some(2))
    };
    let kept = |folder: &VideoFolder| -> usize {
        let pixels = folder.videos.iter().flat_map(|video| &video.pixels);
        pixels.map(Vec::len).sum()
    };
    let all = open(root.path(), limited(100));
    assert_eq!(kept(&all), (9 + 5) * 270_000);
    for mib in [0, 1, 2, 3] {
        let some = open(root.path(), limited(mib));
        assert!(kept(&some) <= mib << 20, "{mib}");
        assert_eq!(some.len(), all.len());
        for index in 0..all.len() {
            assert_eq!(some.get(index).unwrap(), all.get(index).unwrap());
        }
    }
}

#[test]
fn videos_that_break_later_are_errors_of_their_clips() {
    let root = two_videos();
    let config = VideoFolderConfig {
        max_memory_mib: 0,
        ..config(4, None)
    };
    let folder = open(root.path(), config);
    fs::remove_file(root.path().join("a/0009.png")).unwrap();
    fs::remove_file(root.path().join("a/0007.png")).unwrap();
    fs::remove_file(root.path().join("a/0008.png")).unwrap();
    fs::remove_dir_all(root.path().join("b")).unwrap();
    assert_eq!(reds(&folder, 0), [0, 1, 2, 3]);
    let error = |index| folder.get(index).unwrap_err().to_string();
    assert!(
        error(1).ends_with("it ends within its clip 1"),
        "{}",
        error(1)
    );
    assert!(error(2).ends_with("no such file or folder"), "{}", error(2));
}

#[test]
fn configuration() {
    let root = two_videos();
    assert_eq!(
        error(
            root.path(),
            VideoFolderConfig {
                size: 4,
                ..config(2, None)
            }
        ),
        "videos: size is 4, but has to be at least 8"
    );
    assert_eq!(
        error(root.path(), config(2, Some(0))),
        "videos: skip is 0, but has to be at least 1"
    );
    let read: VideoFolderConfig = toml::from_str("frames = 8").unwrap();
    assert_eq!(
        read,
        VideoFolderConfig {
            frames: 8,
            ..Default::default()
        }
    );
    assert_eq!(
        toml::from_str::<VideoFolderConfig>(&toml::to_string(&read).unwrap()).unwrap(),
        read
    );
    assert!(toml::from_str::<VideoFolderConfig>("frame = 8").is_err());
}

#[cfg(unix)]
#[test]
fn links_in_a_circle_end() {
    let root = two_videos();
    std::os::unix::fs::symlink(root.path(), root.path().join("b/up")).unwrap();
    assert_eq!(open(root.path(), config(4, None)).len(), 3);
}

#[test]
fn every_class_has_validation_clips() {
    let root = tempfile::tempdir().unwrap();
    for class in ["jump", "run", "walk"] {
        for video in 0..8 {
            write_video(&root.path().join(format!("{class}/{video}")), video, 4);
        }
    }
    let folder =
        VideoFolder::open(root.path(), config(2, Some(1)), of_folders(), 1, |_, _| ()).unwrap();
    assert_eq!(folder.len(), 72);
    let validation = Split::new(72, 24, |index| folder.source_id(index)).validation;
    let mut videos = [0; 3];
    for clips in validation.chunks(3) {
        // Overlapping clips of a video stay together.
        let of_video = clips.iter().map(|&index| folder.origin(index).0);
        assert!(
            of_video
                .clone()
                .all(|path| path == folder.origin(clips[0]).0)
        );
        videos[folder.get(clips[0]).unwrap().label.unwrap()] += 1;
    }
    assert!(videos.iter().all(|&count| count > 0), "{videos:?}");

    // The location of the folder is not part of a video's name.
    let moved = root.path().with_extension("moved");
    fs::rename(root.path(), &moved).unwrap();
    let again = open(&moved, config(2, Some(1)));
    fs::rename(&moved, root.path()).unwrap();
    assert!((0..72).all(|index| folder.source_id(index) == again.source_id(index)));
}
