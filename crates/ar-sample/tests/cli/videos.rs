//! The videos that `generate` writes, and its reports.

use ar_video::read_clip;

use super::{Folder, last_line_json};

#[test]
fn the_default_is_a_playable_video() {
    let folder = Folder::new();
    let stdout = folder.ok("");
    assert!(
        stdout.starts_with("sample.mp4: 16 frames of 384x384 at "),
        "{stdout}"
    );
    assert_eq!(folder.list(), [folder.path("sample.mp4")]);
    let clip = read_clip(folder.path("sample.mp4")).expect("a video");
    assert_eq!(
        (clip.frames().len(), clip.width(), clip.height()),
        (16, 384, 384)
    );
}

#[test]
fn frames_are_enlarged_as_asked_for() {
    let folder = Folder::new();
    let quick = "--frames 2 --steps 2 --ar-step 1";
    // Lossless formats contain exactly what the model makes.
    folder.ok(&format!("{quick} --out plain.apng"));
    folder.ok(&format!(
        "{quick} --out large.apng --scale 3 --scale-filter nearest"
    ));
    let [plain, large] =
        ["plain.apng", "large.apng"].map(|name| read_clip(folder.path(name)).expect("a video"));
    assert_eq!((plain.width(), large.width()), (64, 192));
    for (plain, large) in plain.frames().iter().zip(large.frames()) {
        let rows = large.rgb().chunks_exact(192 * 3).step_by(3);
        let small: Vec<u8> = rows
            .flat_map(|row| row.chunks_exact(3).step_by(3).flatten().copied())
            .collect();
        assert_eq!(small, plain.rgb());
    }
    folder.fails(
        &format!("{quick} --scale 40"),
        "--scale 40 makes frames of 2560x2560, but MP4 allows at most 2160x2160",
    );
}

#[test]
fn a_seed_is_a_video() {
    let folder = Folder::new();
    let quick = "--frames 3 --steps 3 --ar-step 1";
    folder.ok(&format!("{quick} --seed 5 --out a.apng"));
    folder.ok(&format!("generate {quick} --seed 5 --out b.png"));
    folder.ok(&format!("{quick} --seed 6 --out c.apng"));
    assert_eq!(folder.read("a.apng"), folder.read("b.png"));
    assert_ne!(folder.read("a.apng"), folder.read("c.apng"));
}

#[test]
fn several_videos_in_every_format() {
    let folder = Folder::new();
    for (format, extension) in [
        ("mp4", "mp4"),
        ("gif", "gif"),
        ("apng", "apng"),
        ("png", "frames"),
    ] {
        folder.ok(&format!(
            "--frames 2 --steps 2 --ar-step 1 --count 3 --batch 2 --format {format}"
        ));
        for index in 0..3 {
            let path = folder.path(&format!("sample-{index}.{extension}"));
            assert_eq!(read_clip(&path).expect("a video").frames().len(), 2);
        }
    }
    assert_eq!(folder.list().len(), 12);
}

#[test]
fn parts_make_the_videos_of_the_whole() {
    let folder = Folder::new();
    let quick = "--frames 2 --steps 2 --ar-step 1 --batch 1 --count 11 --format apng";
    folder.ok(&format!(
        "{quick} --out whole.png --save-latents whole.safetensors"
    ));
    let mut latents = Vec::new();
    for part in 0..3 {
        let stdout = folder.ok(&format!(
            "{quick} --out part.png --save-latents part.safetensors --part {part}/3 --json"
        ));
        let videos = [3, 4, 4][part];
        assert_eq!(last_line_json(&stdout)["count"], videos);
        let (values, shape) = folder.latents(&format!("part-{part}-of-3.safetensors"));
        assert_eq!(shape[0], videos);
        latents.extend(values);
    }
    assert_eq!(latents, folder.latents("whole.safetensors").0);
    for video in 0..11 {
        let [part, whole] = ["part", "whole"].map(|name| format!("{name}-{video:02}.png"));
        assert!(folder.read(&part) == folder.read(&whole), "video {video}");
    }
    folder.fails("--count 2 --part 0/3", "none of the 2 videos");
}

#[test]
fn json_says_what_was_done() {
    let folder = Folder::new();
    let stdout =
        folder.ok("--frames 5 --steps 6 --ar-step 2 --count 2 --fps 7.5 --out a.gif --json");
    let report = last_line_json(&stdout);
    assert_eq!(report["outputs"], serde_json::json!(["a-0.gif", "a-1.gif"]));
    let iterations = 6 + 2 * (5 - 1);
    assert_eq!(report["network_evaluations"], iterations);
    // Two videos; six steps per frame, and once more for the keys and values of all except the
    // last.
    assert_eq!(report["frame_evaluations"], 2 * (5 * 6 + 4));
    assert_eq!(report["format"], "gif");
    assert_eq!(report["fps"], 7.5);
    assert_eq!(report["sampler"]["method"], "active_frames");
    assert_eq!(report["sampler"]["steps"], 6);
    assert_eq!(report["sampler"]["ar_step"], 2);
    let second = |phase: &str| report["seconds"][phase].as_f64().expect(phase);
    // Decoding and encoding run in parallel with sampling.
    for phases in [["load", "sample"], ["decode", "encode"]] {
        let seconds: f64 = phases.map(second).iter().sum();
        assert!(0.0 < seconds && seconds <= second("total"), "{report}");
    }
    let first = |event: &str| report["first_frame_seconds"][event].as_f64().expect(event);
    assert!(0.0 < first("latent") && first("latent") <= first("decoded"));
    assert!(first("decoded") <= second("total"));
    assert_eq!(report["frames_sampled"], 10);
    let rate = |event: &str| report["frames_per_second"][event].as_f64().expect(event);
    assert!((rate("sampling") * second("sample") - 10.0).abs() < 1e-6);
    assert!(0.0 < rate("with_decoding") && rate("with_decoding") <= rate("sampling"));
    assert_eq!(report["interrupted"], false);
    assert_eq!(report["prefix_frames"], 0);
    #[cfg(target_os = "linux")]
    assert!(report["peak_memory_bytes"].as_u64().expect("bytes") > 1 << 20);
}
