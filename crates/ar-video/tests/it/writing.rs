use std::fs;
use std::path::Path;

use ar_video::{
    Clip, Frame, VideoError, VideoFormat, VideoReader, VideoWriter, read_clip, write_clip,
};
use tempfile::tempdir;

use crate::{names, noise, psnr, smooth};

#[test]
fn apng_and_png_are_lossless() {
    let folder = tempdir().unwrap();
    for format in [VideoFormat::Apng, VideoFormat::Png] {
        for (width, height, frames) in [(13, 7, 3), (1, 1, 2), (16, 16, 1)] {
            let clip = noise(width, height, frames);
            let path = folder
                .path()
                .join("clip")
                .with_extension(format.extension());
            write_clip(&path, &clip, format, 30.0).unwrap();
            assert_eq!(read_clip(&path).unwrap(), clip, "{format}");
        }
    }
    assert_eq!(names(folder.path()), ["clip.apng", "clip.frames"]);
    assert_eq!(
        names(&folder.path().join("clip.frames")),
        ["frame_00000.png"]
    );
}

#[test]
fn gif_is_exact_for_few_colours_and_close_for_many() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.gif");
    let colours = |t: usize| (0..15 * 17).flat_map(move |i| [i as u8, (i * 7 + t) as u8, 9]);
    let few = Clip::new(
        (0..4)
            .map(|t| Frame::new(15, 17, colours(t).collect()))
            .collect(),
    );
    write_clip(&path, &few, VideoFormat::Gif, 10.0).unwrap();
    assert_eq!(read_clip(&path).unwrap(), few);

    let many = smooth(64, 48, 3);
    write_clip(&path, &many, VideoFormat::Gif, 10.0).unwrap();
    for (read, written) in read_clip(&path).unwrap().frames().iter().zip(many.frames()) {
        let quality = psnr(read, written);
        assert!(quality > 35.0, "{quality}");
    }
}

#[test]
fn gif_delays_keep_the_rate() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.gif");
    // 100 / 24 = 4.17, so that every sixth frame is longer; players slow 100 / 60 down.
    for (fps, expected) in [
        (24.0, [4, 4, 5, 4, 4, 4, 4]),
        (60.0, [2; 7]),
        (0.01, [10_000; 7]),
    ] {
        write_clip(&path, &noise(2, 2, 7), VideoFormat::Gif, fps).unwrap();
        let mut decoder = gif::Decoder::new(fs::File::open(&path).unwrap()).unwrap();
        let mut delays = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            delays.push(frame.delay);
        }
        assert_eq!(delays, expected, "{fps}");
        assert_eq!(decoder.repeat(), gif::Repeat::Infinite);
    }
}

#[test]
fn apng_has_the_rate_and_loops() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.png");
    let format = VideoFormat::from_path(&path).unwrap();
    write_clip(&path, &noise(2, 2, 3), format, 30_000.0 / 1001.0).unwrap();
    let file = std::io::BufReader::new(fs::File::open(&path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let control = reader.info().animation_control().unwrap();
    assert_eq!((control.num_frames, control.num_plays), (3, 0));
    let frame = reader.info().frame_control().unwrap();
    assert_eq!((frame.delay_num, frame.delay_den), (1001, 30_000));
}

#[test]
fn outputs_are_replaced_whole() {
    let folder = tempdir().unwrap();
    for format in VideoFormat::ALL {
        let path = folder
            .path()
            .join("new/folders/clip")
            .with_extension(format.extension());
        write_clip(&path, &noise(16, 16, 3), format, 25.0).unwrap();
        let mut writer = VideoWriter::create(&path, format, 25.0).unwrap();
        writer.write(&noise(16, 16, 1).frames()[0]).unwrap();
        // The old one remains until the new one is finished.
        let is_read_here = !format.streams();
        if is_read_here {
            assert_eq!(VideoReader::open(&path).unwrap().count(), 3);
        }
        writer.finish().unwrap();
        if is_read_here {
            assert_eq!(VideoReader::open(&path).unwrap().count(), 1);
        }
    }
    let folder = folder.path().join("new/folders");
    assert_eq!(
        names(&folder),
        [
            "clip.apng",
            "clip.frames",
            "clip.gif",
            "clip.mp4",
            "clip.rgb"
        ]
    );
}

#[cfg(unix)]
#[test]
fn outputs_have_the_usual_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempdir().unwrap();
    let (file, subfolder) = (folder.path().join("file"), folder.path().join("folder"));
    fs::write(&file, "x").unwrap();
    fs::create_dir(&subfolder).unwrap();
    for format in VideoFormat::ALL {
        let path = folder
            .path()
            .join("clip")
            .with_extension(format.extension());
        write_clip(&path, &noise(16, 16, 1), format, 25.0).unwrap();
        assert_eq!(
            mode(&path),
            mode(if path.is_dir() { &subfolder } else { &file }),
            "{format}"
        );
    }
}

#[test]
fn unfinished_and_failed_writers_leave_nothing() {
    let folder = tempdir().unwrap();
    for format in VideoFormat::ALL {
        let path = folder.path().join("clip");
        let mut writer = VideoWriter::create(&path, format, 25.0).unwrap();
        writer.write(&noise(16, 16, 1).frames()[0]).unwrap();
        drop(writer);
        assert!(names(folder.path()).is_empty(), "{format}");

        let writer = VideoWriter::create(&path, format, 25.0).unwrap();
        assert!(matches!(
            writer.finish(),
            Err(VideoError::NothingWritten { .. })
        ));

        let mut writer = VideoWriter::create(&path, format, 25.0).unwrap();
        writer.write(&noise(16, 16, 1).frames()[0]).unwrap();
        let error = writer.write(&noise(16, 18, 1).frames()[0]).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("but frame 1 is 16x18, not 16x16"),
            "{error}"
        );
        assert!(matches!(writer.finish(), Err(VideoError::Encode { .. })));
        assert!(names(folder.path()).is_empty(), "{format}");
    }
}

#[test]
fn bad_outputs_are_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip");
    for fps in [0.0, -1.0, 0.001, 1000.1, f64::NAN, f64::INFINITY] {
        let error = VideoWriter::create(&path, VideoFormat::Gif, fps)
            .err()
            .unwrap();
        assert!(matches!(error, VideoError::FrameRate { .. }));
    }
    let wide = Frame::new(3842, 1, vec![0; 3842 * 3]);
    let clip = Clip::new(vec![wide]);
    let error = write_clip(&path, &clip, VideoFormat::Mp4, 1.0)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("mp4 cannot hold frames of 3842x1 pixels, at most 3840x2160 or 2160x3840")
    );

    fs::create_dir(&path).unwrap();
    fs::write(path.join("frame_1.png"), "x").unwrap();
    fs::write(path.join("thesis.tex"), "x").unwrap();
    let clip = noise(2, 2, 1);
    for format in VideoFormat::ALL {
        let error = write_clip(&path, &clip, format, 1.0)
            .unwrap_err()
            .to_string();
        let expected = if format == VideoFormat::Png {
            "thesis.tex"
        } else {
            "this is a folder"
        };
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(names(&path), ["frame_1.png", "thesis.tex"]);

    let below_file = path.join("thesis.tex/clip.gif");
    let error = write_clip(&below_file, &clip, VideoFormat::Gif, 1.0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("thesis.tex"), "{error}");
    let error = write_clip(path.join("thesis.tex"), &clip, VideoFormat::Png, 1.0).unwrap_err();
    assert!(error.to_string().contains("there is a file"), "{error}");
}
