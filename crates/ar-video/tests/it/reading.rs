use std::fs;

use ar_video::{Clip, FileKind, VideoFormat, VideoReader, read_clip, write_clip};
use image::{DynamicImage, ImageFormat, RgbImage};
use tempfile::tempdir;

use crate::{noise, psnr, smooth};

#[test]
fn folders_are_read_in_natural_order() {
    let folder = tempdir().unwrap();
    let clip = noise(6, 4, 12);
    for (i, frame) in clip.frames().iter().enumerate() {
        let image = RgbImage::from_raw(6, 4, frame.rgb().to_vec()).unwrap();
        let extension = ["png", "bmp", "webp", "PNG"][i % 4];
        let format = ImageFormat::from_extension(extension).unwrap();
        image
            .save_with_format(folder.path().join(format!("{i}.{extension}")), format)
            .unwrap();
    }
    fs::write(folder.path().join("notes.txt"), "not an image").unwrap();
    fs::write(folder.path().join("._0.png"), "not an image").unwrap();
    fs::create_dir(folder.path().join("5b.png")).unwrap();
    assert_eq!(read_clip(folder.path()).unwrap(), clip);
    assert_eq!(FileKind::of(folder.path().join("0.png")), FileKind::Picture);
    assert_eq!(
        FileKind::of(folder.path().join("._0.png")),
        FileKind::Beside
    );
}

#[test]
fn a_video_opens_at_any_frame() {
    let folder = tempdir().unwrap();
    let clip = noise(6, 4, 5);
    for format in [VideoFormat::Apng, VideoFormat::Png] {
        let path = folder.path().join(format.to_string());
        write_clip(&path, &clip, format, 10.0).unwrap();
        for first in 0..5 {
            let reader = VideoReader::open_at(&path, first).unwrap();
            let frames: Vec<_> = reader.map(Result::unwrap).collect();
            assert_eq!(frames, clip.frames()[first..], "{format} {first}");
        }
        for first in [5, 6] {
            let error = VideoReader::open_at(&path, first).unwrap_err().to_string();
            assert!(error.ends_with("no video frames"), "{error}");
        }
    }
}

#[test]
fn a_single_image_is_a_video_of_one_frame() {
    let folder = tempdir().unwrap();
    let frame = smooth(40, 30, 1).into_frames().remove(0);
    let image = RgbImage::from_raw(40, 30, frame.rgb().to_vec()).unwrap();
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::WebP,
        ImageFormat::Jpeg,
    ] {
        // The name does not matter.
        let path = folder.path().join("image.mp4");
        image.save_with_format(&path, format).unwrap();
        let frames = read_clip(&path).unwrap().into_frames();
        assert_eq!(frames.len(), 1);
        match format {
            ImageFormat::Jpeg => assert!(psnr(&frames[0], &frame) > 30.0),
            _ => assert_eq!(frames[0], frame),
        }
    }
}

#[test]
fn other_kinds_of_pixels_become_rgb() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("image.png");
    let rgb = RgbImage::from_raw(2, 1, vec![0, 0, 0, 200, 200, 200]).unwrap();
    let image = DynamicImage::ImageRgb8(rgb);
    for image in [
        DynamicImage::ImageLuma8(image.to_luma8()),
        DynamicImage::ImageLumaA16(image.to_luma_alpha16()),
        DynamicImage::ImageRgb16(image.to_rgb16()),
        DynamicImage::ImageRgba8(image.to_rgba8()),
    ] {
        image.save(&path).unwrap();
        assert_eq!(
            read_clip(&path).unwrap().frames()[0].rgb(),
            [0, 0, 0, 200, 200, 200]
        );
    }
}

#[test]
fn apng_patches_are_composed() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.png");
    // Grey with alpha; the still image that is not part of the animation is white.
    let mut encoder = png::Encoder::new(fs::File::create(&path).unwrap(), 3, 1);
    encoder.set_color(png::ColorType::GrayscaleAlpha);
    encoder.set_animated(2, 0).unwrap();
    encoder.set_sep_def_img(true).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[255; 6]).unwrap();
    writer.write_image_data(&[10, 255, 20, 255, 30, 0]).unwrap();
    writer.set_frame_dimension(2, 1).unwrap();
    writer.set_frame_position(1, 0).unwrap();
    writer.set_blend_op(png::BlendOp::Over).unwrap();
    writer.write_image_data(&[200, 0, 40, 255]).unwrap();
    writer.finish().unwrap();

    let clip = read_clip(&path).unwrap();
    let grey: Vec<Vec<u8>> = clip
        .frames()
        .iter()
        .map(|f| f.rgb().iter().step_by(3).copied().collect())
        .collect();
    assert_eq!(grey, [[10, 20, 0], [10, 20, 40]]);
}

#[test]
fn readers_stream_and_know_their_size() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("clip.gif");
    let clip = Clip::new(noise(4, 3, 30).into_frames());
    write_clip(&path, &clip, VideoFormat::Gif, 50.0).unwrap();
    let mut reader = VideoReader::open(&path).unwrap();
    assert_eq!(reader.size(), (4, 3));
    assert_eq!(
        reader
            .by_ref()
            .take(10)
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
        clip.frames()[..10]
    );
    // A reader can move to another thread.
    let rest = std::thread::spawn(move || reader.count()).join().unwrap();
    assert_eq!(rest, 20);
}

#[test]
fn frames_that_may_be_in_two_orders_are_refused() {
    let folder = tempdir().unwrap();
    let image = RgbImage::new(2, 2);
    for name in ["t0.25.png", "t0.5.png", "t1.0.png"] {
        image.save(folder.path().join(name)).unwrap();
    }
    let error = read_clip(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("\"t0.5.png\" or \"t0.25.png\" may come first"),
        "{error}"
    );
    fs::rename(
        folder.path().join("t0.5.png"),
        folder.path().join("t0.50.png"),
    )
    .unwrap();
    assert_eq!(read_clip(folder.path()).unwrap().frames().len(), 3);
}

#[test]
fn an_animation_is_no_frame() {
    let folder = tempdir().unwrap();
    let clip = noise(6, 4, 3);
    let apng = folder.path().join("b.png");
    write_clip(&apng, &clip, VideoFormat::Apng, 10.0).unwrap();
    let webp = folder.path().join("c.webp");
    fs::copy("tests/faults/disposal.webp", &webp).unwrap();
    RgbImage::new(6, 4)
        .save(folder.path().join("a.png"))
        .unwrap();
    for path in [&apng, &webp] {
        assert_eq!(FileKind::of(path), FileKind::Video);
    }
    let error = read_clip(folder.path()).unwrap_err().to_string();
    assert!(error.contains("b.png: an animation in a folder"), "{error}");
    assert_eq!(read_clip(&apng).unwrap(), clip);
}
