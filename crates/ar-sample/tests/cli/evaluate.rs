//! `ar-sample evaluate`: what is measured, in how many runs, and on what.

use ar_video::{Clip, Frame, VideoFormat, write_clip};
use serde_json::Value;

use super::Folder;

/// Clips of shapes as small as the tiny model's frames.
pub const SMALL_WORLD: &str = r#"
    [run]
    steps = 10 # of ar-train, and nothing to evaluate
    [data]
    clips = 20
    held_out = 4
    [data.shapes]
    size = 16
    max_shapes = 1
    min_radius = 0.25
    max_radius = 0.3
"#;

const EVALUATE: &str = "evaluate --model tiny --data data.toml --samples 4 --frames 6 --steps 4 \
                        --ar-step 1,2 --prefix-frames 2 --batch 3";

#[test]
fn evaluation_in_parts() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");

    folder.ok(&format!("{EVALUATE} --out whole"));
    let waiting = folder.ok(&format!("{EVALUATE} --out parts --shard 0/2"));
    assert!(waiting.contains("waits for the other parts"), "{waiting}");
    assert!(!folder.path("parts/report.json").exists());
    folder.ok(&format!("{EVALUATE} --out parts --shard 1/2"));
    let report = |name: &str| -> Value {
        serde_json::from_slice(&folder.read(name)).expect("a report of JSON")
    };
    // Noise is addressed by clip, and so parts and batches change nothing but rounding.
    let (whole, parts) = (report("whole/report.json"), report("parts/report.json"));
    let sources = |report: &Value| report["sources"].as_array().expect("rows").clone();
    assert_eq!(
        sources(&whole)
            .iter()
            .map(|row| row["source"].as_str().expect("a name"))
            .collect::<Vec<_>>(),
        [
            "ground truth",
            "reconstruction",
            "samples, s = 1",
            "samples, s = 2",
            "after 2 frames, s = 1",
            "after 2 frames, s = 2",
        ]
    );
    for (whole, parts) in sources(&whole).iter().zip(&sources(&parts)) {
        for key in ["psnr", "ssim", "latents", "latent_motion"] {
            match (whole[key].as_f64(), parts[key].as_f64()) {
                (Some(a), Some(b)) => assert!((a - b).abs() < 1e-2 * (1.0 + a), "{key}: {a} {b}"),
                (a, b) => assert_eq!(a, b, "{key}"),
            }
        }
    }
    let truth = &sources(&whole)[0];
    assert_eq!(truth["world"]["object_count"]["mean"], 1.0);
    assert_eq!(truth["world"]["trajectory_error"]["mean"], 0.0);
    assert_eq!(truth["world"]["failures"]["disappearance"], 0.0);
    assert_eq!(truth["ssim"], 1.0);
    assert!(truth["latents"].is_null() && sources(&whole)[2]["latent_motion"].is_f64());
    // Only what continues a clip can be compared with it.
    let (free, continued) = (&sources(&whole)[2], &sources(&whole)[4]);
    assert!(free["psnr"].is_null() && free["ssim"].is_null());
    assert!(continued["psnr"].is_f64() && continued["ssim"].is_f64());

    let page = String::from_utf8(folder.read("whole/report.html")).expect("text");
    for text in [
        "<svg",
        "ground truth",
        "after 2 frames, s = 2",
        "velocity error",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn evaluation_goes_on_where_it_was() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    folder.ok(EVALUATE);
    let lines = |name: &str| -> Vec<String> {
        let text = String::from_utf8(folder.read(name)).expect("text");
        text.lines().map(String::from).collect()
    };
    let all = lines("evaluation/clips.jsonl");
    assert_eq!(all.len(), 6 * 4);
    // Killed in the middle of a line; the lines before it stay as they are.
    let torn = all[..10].join("\n") + "\n" + &all[10][..20];
    std::fs::write(folder.path("evaluation/clips.jsonl"), torn).expect("a file");
    folder.ok(EVALUATE);
    let again = lines("evaluation/clips.jsonl");
    assert_eq!((again.len(), &again[..10]), (all.len(), &all[..10]));

    // Clips that are measured already are made once more to be kept, and not measured again.
    folder.ok(&format!("{EVALUATE} --keep 1"));
    assert_eq!(lines("evaluation/clips.jsonl"), again);
    for source in [
        "ground-truth",
        "reconstruction",
        "samples-s-1",
        "after-2-s-2",
    ] {
        let frames = folder.frames(&format!("evaluation/clips/{source}/0.apng"));
        assert_eq!(frames.len(), 6, "{source}");
        assert!(
            !folder
                .path(&format!("evaluation/clips/{source}/1.apng"))
                .exists()
        );
    }

    let other = format!("{EVALUATE} --seed 7");
    folder.fails(
        &other,
        "evaluation holds another evaluation (seed is 0 there and 7 now)",
    );
}

#[test]
fn evaluation_of_classes() {
    let folder = Folder::new();
    folder.tiny_model();
    let transformer = "causal_mask = \"temporal_causal\"\n[conditioning]\nclasses = 3";
    folder.random_model("classes", transformer, "");
    let world = SMALL_WORLD.replace("max_shapes = 1", "max_shapes = 1\n    labels = \"kind\"");
    std::fs::write(folder.path("data.toml"), world).expect("a file");
    let command = "evaluate --model classes --data data.toml --frames 6 --steps 4 --ar-step 2 \
                   --metrics psnr,world";
    let classes = |arguments: &str| {
        folder.ok(&format!("{command} {arguments}"));
        let report = folder.read("evaluation/report.json");
        std::fs::remove_dir_all(folder.path("evaluation")).expect("a folder");
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        report["protocol"]["classes"].clone()
    };
    assert_eq!(classes("--samples 4"), "of_clips");
    assert_eq!(
        classes("--samples 1 --class 1"),
        serde_json::json!({ "one": 1 })
    );
    for (arguments, what) in [
        ("--samples 4 --class 1 --out new", "clips of class 1"),
        ("--samples 4 --class 3 --out new", "classes 0 to 2"),
    ] {
        folder.fails(&format!("{command} {arguments}"), what);
    }
    folder.fails(
        "evaluate --model tiny --data data.toml --samples 4 --class 0 --out new",
        "no classes",
    );
}

#[test]
fn evaluation_of_a_folder_of_videos() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    std::fs::create_dir(folder.path("videos")).expect("a folder");
    for name in ["a.gif", "b.gif"] {
        let black = Frame::new(24, 20, vec![0; 24 * 20 * 3]);
        let clip = Clip::new(vec![black; 6]);
        write_clip(
            &folder.path("videos").join(name),
            &clip,
            VideoFormat::Gif,
            8.0,
        )
        .expect("a file");
    }
    let command = "evaluate --model tiny --data data.toml --frames 6 --videos videos";
    folder.ok(&format!("{command} --samples 2"));
    let report: Value =
        serde_json::from_slice(&folder.read("evaluation/report.json")).expect("JSON");
    let videos = &report["sources"][2];
    assert_eq!(videos["source"], "videos");
    // There is nothing to see.
    assert_eq!(videos["world"]["object_count"]["mean"], 0.0);

    for (arguments, what) in [
        (format!("{command} --samples 3 --out new"), "there are 2 clips of 6 frames, and --samples is 3"),
        (format!("{command} --samples 5 --out new"), "holds out 4 clips"),
        ("evaluate --model tiny --out new".into(), "min_radius"),
        ("evaluate --model nowhere --out new".into(), "nowhere"),
        (
            "evaluate --model tiny --data tiny/config.toml --out new".into(),
            "missing field `data`",
        ),
        (
            "evaluate --model tiny --data data.toml --samples 4 --frames 6 --prefix-frames 6 --out new"
                .into(),
            "--prefix-frames smaller",
        ),
        (
            "evaluate --model tiny --data data.toml --samples 4 --steps 4 --ar-step 9 --out new".into(),
            "step",
        ),
    ] {
        folder.fails(&arguments, what);
    }
}
