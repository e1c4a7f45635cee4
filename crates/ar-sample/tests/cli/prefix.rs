//! Videos that continue given frames.

use ar_model::VideoModel;
use ar_video::{Clip, Frame, VideoFormat, write_clip};
use burn::tensor::{Tensor, TensorData};

use super::{Folder, TINY, last_line_json, relative_error};

/// Coloured frames in a size that no model has.
fn coloured_frames(count: u8) -> Vec<Frame> {
    let colour = |i: u8| [i * 20, 255 - i * 20, 100];
    (0..count)
        .map(|i| Frame::new(24, 20, colour(i).repeat(24 * 20)))
        .collect()
}

#[test]
fn a_prefix_is_kept_and_continued() {
    let folder = Folder::new();
    folder.tiny_model();
    let clip = coloured_frames(8);
    let given: Vec<Frame> = clip
        .iter()
        .map(|frame| ar_video::square_crop(frame, 16))
        .collect();
    write_clip(
        folder.path("in.apng"),
        &Clip::new(clip),
        VideoFormat::Apng,
        8.0,
    )
    .expect("a video");
    let run = |arguments: &str| {
        let stdout = folder.ok(&format!(
            "{TINY} --prefix in.apng --format png --json {arguments}"
        ));
        (last_line_json(&stdout), folder.frames("sample.frames"))
    };

    // Its last frames, one less than the window; then a window of new ones.
    let (report, frames) = run("");
    assert_eq!(report["prefix_frames"], 3);
    assert_eq!(report["frames"], 3 + 4);
    assert_eq!(frames.len(), 3 + 4);
    assert_eq!(frames[..3], given[5..]);
    // Four steps each, and once more for all except the last; for the prefix only keys and values.
    assert_eq!(report["frame_evaluations"], 3 + 4 * 4 + 3);

    // A prefix longer than the window, and the requested number of frames.
    let (report, longer) = run("--prefix-frames 6 --frames 9");
    assert_eq!(report["frames_sampled"], 3);
    assert_eq!(longer.len(), 9);
    assert_eq!(longer[..6], given[2..]);
    assert_eq!(run("--prefix-frames 6 --frames 9").1, longer);

    // The samples depend on the prefix, not only on its position.
    write_clip(
        folder.path("other.apng"),
        &Clip::new(vec![Frame::new(16, 16, vec![200; 16 * 16 * 3]); 6]),
        VideoFormat::Apng,
        8.0,
    )
    .expect("a video");
    let sampled = |prefix: &str| {
        folder.ok(&format!(
            "{TINY} --prefix {prefix} --prefix-frames 6 --frames 9 --save-latents l.safetensors"
        ));
        folder.latents("l.safetensors").0.split_off(6 * 4 * 4)
    };
    let difference = relative_error(&sampled("other.apng"), &sampled("in.apng"));
    // Without the prefix they would be the same to the bit.
    assert!(difference > 1e-5, "{difference:e}");
}

#[test]
fn frames_denoised_together_see_the_prefix() {
    let folder = Folder::new();
    folder.tiny_model();
    folder.random_model("window", "causal_mask = \"temporal_causal\"", "");
    for (name, grey) in [("dark.apng", 20), ("bright.apng", 220)] {
        let clip = Clip::new(vec![Frame::new(16, 16, vec![grey; 16 * 16 * 3])]);
        write_clip(folder.path(name), &clip, VideoFormat::Apng, 8.0).expect("a video");
    }
    let sampled = |model: &str, prefix: &str, frames: usize| {
        folder.ok(&format!(
            "--model {model} --steps 4 --ar-step 0 --prefix {prefix} --frames {frames} \
             --save-latents l.safetensors --out a.apng"
        ));
        folder.latents("l.safetensors").0.split_off(4 * 4)
    };
    // A window of new frames if each sees the three before it; otherwise the rest of a window.
    for (model, frames) in [("tiny", 5), ("window", 4)] {
        let bright = sampled(model, "bright.apng", frames);
        let difference = relative_error(&sampled(model, "dark.apng", frames), &bright);
        assert!(difference > 1e-5, "{model}: {difference:e}");
    }
    folder.fails(
        "--model window --steps 4 --ar-step 0 --prefix dark.apng --frames 5",
        "nothing of the prefix",
    );
}

#[test]
fn a_temporal_decoder_sees_the_prefix() {
    let folder = Folder::new();
    // Whole windows, and a decoder of four frames at a time.
    folder.random_model(
        "temporal",
        "causal_mask = \"video_temporal_causal\"",
        "temporal = true",
    );
    write_clip(
        folder.path("in.gif"),
        &Clip::new(coloured_frames(6)),
        VideoFormat::Gif,
        8.0,
    )
    .expect("a video");
    folder.ok(
        "--model temporal --steps 4 --ar-step 1 --prefix in.gif --prefix-frames 6 --frames 9 \
         --out a.apng --save-latents l.safetensors",
    );
    let (values, shape) = folder.latents("l.safetensors");
    assert_eq!(shape, [1, 9, 4, 4]);
    let device = ar_device::open("cpu").expect("the CPU");
    let model = VideoModel::load(folder.path("temporal"), &device).expect("a model");
    let latents = Tensor::<4>::from_data(TensorData::new(values, shape), &device);
    let decode = |first: usize, length: usize| {
        let pixels = model.decode(latents.clone().narrow(1, first, length));
        ar_data::to_frames(pixels.expect("a VAE").flatten(0, 1))
    };
    let given = folder.frames("in.gif");
    let given = given.iter().map(|frame| ar_video::square_crop(frame, 16));
    let expected: Vec<Frame> = given
        .chain(decode(4, 4).into_iter().skip(2))
        .chain(decode(8, 1))
        .collect();
    assert_eq!(folder.frames("a.apng"), expected);
}

#[test]
fn an_image_is_a_prefix() {
    let folder = Folder::new();
    folder.tiny_model();
    let image = coloured_frames(2).swap_remove(1);
    let clip = Clip::new(vec![image.clone()]);
    write_clip(folder.path("images"), &clip, VideoFormat::Png, 8.0).expect("a folder");
    for image_or_folder in ["images", "images/frame_00000.png"] {
        folder.ok(&format!(
            "{TINY} --prefix {image_or_folder} --frames 4 --out a.apng"
        ));
        let frames = folder.frames("a.apng");
        assert_eq!(frames.len(), 4);
        assert_eq!(frames[0], ar_video::square_crop(&image, 16));
    }
    for (arguments, what) in [
        ("--prefix-frames 0", "--prefix-frames is 0"),
        (
            "--prefix-frames 2",
            "--prefix-frames is 2, but images has 1 frames",
        ),
        ("--frames 1", "--frames is 1 with the 1 of the prefix"),
        ("--ar-step 0 --frames 6", "use ar_step >= 1"),
    ] {
        folder.fails(
            &format!("--model tiny --steps 4 --prefix images {arguments}"),
            what,
        );
    }
}
