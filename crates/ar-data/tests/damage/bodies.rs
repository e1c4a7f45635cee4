//! Properties that must hold for any input: the bodies of property tests here, and of the fuzz
//! targets in `fuzz`.

use std::fs;
use std::path::Path;

use ar_data::{
    Labels, LatentDataset, MovingMnist, MovingMnistConfig, Selection, VideoFolder,
    VideoFolderConfig,
};
use burn_dataset::Dataset;

/// A picture of one pixel, which is a video of one frame.
const GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b";

fn config() -> VideoFolderConfig {
    VideoFolderConfig {
        size: 8,
        frames: 1,
        max_unusable: 1.0,
        ..VideoFolderConfig::default()
    }
}

/// A table of labels with any contents assigns a class to each video that it names, or is an error.
pub(crate) fn table(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("videos");
    fs::create_dir_all(root.join("b")).expect("a folder");
    for name in ["a.gif", "b/c.gif"] {
        fs::write(root.join(name), GIF).expect("a file");
    }
    let table = folder.path().join("labels.csv");
    fs::write(&table, bytes).expect("a file");
    let labels = Labels::Csv(table);
    let selection = Selection {
        labels: Some(&labels),
        list: None,
    };
    if let Ok(videos) = VideoFolder::open(&root, config(), selection, 1, |_, _| ()) {
        let classes = videos.class_names().len();
        for index in 0..videos.len() {
            let label = videos.get(index).expect("a clip").label;
            assert!(label.expect("a class") < classes);
        }
        assert!(classes <= videos.len());
        videos.report();
    }
}

/// A file of digits with any contents gives clips, or is an error.
pub(crate) fn idx(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let images = folder.path().join("images");
    fs::write(&images, bytes).expect("a file");
    let config = MovingMnistConfig {
        images,
        frames: 2,
        ..MovingMnistConfig::default()
    };
    if let Ok(digits) = MovingMnist::open(config, 2, 0) {
        assert_eq!(digits.get(1).expect("a clip").clip.frames().len(), 2);
    }
}

/// A file of latents with any contents is a clip of finite numbers, or an error.
pub(crate) fn npy(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("x.npy"), bytes).expect("a file");
    if let Ok(latents) = LatentDataset::load(folder.path(), None) {
        let item = latents.get(0).expect("a clip");
        assert_eq!(item.latents.len(), item.shape.iter().product::<usize>());
        assert!(item.latents.iter().all(|value| value.is_finite()));
    }
}

/// A folder of anything: every video exists, and is listed once.
pub(crate) fn tree(files: &[(String, bool)]) {
    let root = tempfile::tempdir().expect("a folder");
    for (name, is_video) in files {
        let path = root.path().join(name.trim_start_matches('/'));
        let is_below = path.components().all(|part| part.as_os_str() != "..");
        let folder = path.parent().unwrap_or(Path::new(""));
        if is_below && fs::create_dir_all(folder).is_ok() {
            let bytes = if *is_video { GIF } else { b"" };
            // Not every text is a valid name, and a folder may already have it.
            let _ = fs::write(path, bytes);
        }
    }
    for labels in [None, Some(Labels::Folders)] {
        let selection = Selection {
            labels: labels.as_ref(),
            list: None,
        };
        match VideoFolder::open(root.path(), config(), selection, 1, |_, _| ()) {
            Ok(videos) => {
                let mut paths: Vec<_> = videos.videos().map(|(path, _)| path).collect();
                assert!(paths.iter().all(|path| path.exists()));
                let count = paths.len();
                paths.sort();
                paths.dedup();
                assert_eq!(paths.len(), count);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
