//! `ar-sample evaluate`: measures, runs and data.

use ar_files::FolderLock;
use ar_video::{Clip, Frame, VideoFormat, write_clip};
use serde_json::Value;

use super::Folder;
use super::streams::has_ffmpeg;

/// Clips of shapes as small as the tiny model's frames.
pub(crate) const SMALL_WORLD: &str = r#"
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

/// Numbers are equal up to rounding, and everything else exactly.
#[track_caller]
fn assert_near(a: &Value, b: &Value, name: &str) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{name}");
            for (key, a) in a {
                assert_near(a, &b[key], &format!("{name}.{key}"));
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{name}");
            a.iter().zip(b).for_each(|(a, b)| assert_near(a, b, name));
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => {
                assert!((a - b).abs() < 1e-2 * (1.0 + a.abs()), "{name}: {a} {b}");
            }
            _ => assert_eq!(a, b, "{name}"),
        },
    }
}

#[test]
fn evaluation_in_parts() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");

    folder.ok(&format!("{EVALUATE} --out whole"));
    let waiting = folder.ok(&format!("{EVALUATE} --out parts --part 0/2"));
    assert!(waiting.contains("waits for the other parts"), "{waiting}");
    assert!(!folder.path("parts/report.json").exists());
    folder.ok(&format!("{EVALUATE} --out parts --part 1/2"));
    // Both have started before either ends.
    let both = [0, 1]
        .map(|part| folder.start(&format!("{EVALUATE} --out together --part {part}/2")))
        .map(|process| process.wait_with_output().expect("an end"));
    for output in both {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
    }
    let report = |name: &str| -> Value {
        serde_json::from_slice(&folder.read(name)).expect("a report of JSON")
    };
    let whole = report("whole/report.json");
    // Noise is addressed by clip, so parts and batches change only rounding.
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
    for parts in ["parts", "together"] {
        let parts = report(&format!("{parts}/report.json"));
        for (whole, parts) in sources(&whole).iter().zip(&sources(&parts)) {
            let name = whole["source"].as_str().expect("a name");
            for key in ["psnr", "ssim", "latents", "latent_motion", "world"] {
                assert_near(&whole[key], &parts[key], &format!("{name}: {key}"));
            }
        }
    }
    let truth = &sources(&whole)[0];
    assert_eq!(truth["world"]["object_count"]["mean"], 1.0);
    assert_eq!(truth["world"]["trajectory_error"]["mean"], 0.0);
    assert_eq!(truth["world"]["failures"]["disappearance"], 0.0);
    assert_eq!(truth["ssim"], 1.0);
    assert!(truth["latents"].is_null() && sources(&whole)[2]["latent_motion"].is_f64());
    // Only continuations of a clip can be compared with it.
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
    // Killed in the middle of a line; the lines before it do not change.
    let torn = all[..10].join("\n") + "\n" + &all[10][..20];
    std::fs::write(folder.path("evaluation/clips.jsonl"), torn).expect("a file");
    folder.ok(EVALUATE);
    let again = lines("evaluation/clips.jsonl");
    assert_eq!((again.len(), &again[..10]), (all.len(), &all[..10]));

    // Clips that have already been measured are made again to be kept, but not measured again.
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
fn evaluation_of_other_data_begins_anew() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    let refused = |arguments: &str, what: &str| {
        let report = folder.read("evaluation/report.json");
        folder.fails(arguments, what);
        assert_eq!(folder.read("evaluation/report.json"), report);
    };

    let drawn = "evaluate --model tiny --data data.toml --frames 6 --steps 4 --ar-step 2 \
                 --samples 2 --metrics psnr";
    folder.ok(drawn);
    // A key that no clip depends on.
    let read_ahead = SMALL_WORLD.replace("[data]", "[data]\nworkers = 1");
    std::fs::write(folder.path("data.toml"), read_ahead).expect("a file");
    folder.ok(drawn);
    let others = SMALL_WORLD.replace("max_radius = 0.3", "max_radius = 0.31");
    std::fs::write(folder.path("data.toml"), others).expect("a file");
    refused(
        drawn,
        "data_config.shapes.max_radius is 0.3 there and 0.31 now",
    );
    std::fs::remove_dir_all(folder.path("evaluation")).expect("a folder");

    std::fs::create_dir(folder.path("videos")).expect("a folder");
    let write = |grey: u8| {
        let clip = Clip::new(vec![Frame::new(16, 16, vec![grey; 16 * 16 * 3]); 6]);
        let path = folder.path("videos/a.apng");
        write_clip(&path, &clip, VideoFormat::Apng, 8.0).expect("a file");
    };
    let made = "evaluate --model tiny --data data.toml --frames 6 --videos videos --samples 1 \
                --metrics world";
    write(100);
    folder.ok(made);
    write(101);
    refused(made, "its videos were different");
    std::fs::remove_dir_all(folder.path("evaluation")).expect("a folder");

    let videos = "[data]\npath = \"videos\"\nheld_out = 1\n[data.videos]\nsize = 16";
    std::fs::write(folder.path("data.toml"), videos).expect("a file");
    let held_out = "evaluate --model tiny --data data.toml --frames 6 --steps 4 --ar-step 2 \
                    --samples 1 --metrics psnr";
    folder.ok(held_out);
    write(102);
    refused(held_out, "its data were different");
}

#[test]
fn a_folder_of_something_else_stays_as_it_is() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    std::fs::create_dir(folder.path("run")).expect("a folder");
    std::fs::write(folder.path("run/metrics.jsonl"), "{\"step\": 1}\n").expect("a file");
    folder.fails(
        &format!("{EVALUATE} --out run"),
        "metrics.jsonl: line 1 is not the record of a clip",
    );
    let left = std::fs::read_dir(folder.path("run")).expect("a folder");
    assert_eq!(left.count(), 1);
}

#[test]
fn a_part_of_an_evaluation_has_one_process() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    std::fs::create_dir(folder.path("evaluation")).expect("a folder");
    let lock = FolderLock::take(folder.path("evaluation"), ".lock").expect("a free folder");
    folder.fails(EVALUATE, &format!("process {} on ", std::process::id()));
    assert!(!folder.path("evaluation/clips.jsonl").exists());
    // Parts are measured at the same time.
    folder.ok(&format!("{EVALUATE} --part 0/2"));
    drop(lock);
    folder.ok(EVALUATE);
}

#[test]
fn an_evaluation_changes_nothing_that_it_reads() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::create_dir(folder.path("videos")).expect("a folder");
    let clip = Clip::new(vec![Frame::new(16, 16, vec![90; 16 * 16 * 3]); 6]);
    let video = folder.path("videos/a.apng");
    write_clip(video, &clip, VideoFormat::Apng, 8.0).expect("a file");
    let data = "[data]\npath = \"videos\"\nvalidation = 1\n[data.videos]\nsize = 16";
    std::fs::write(folder.path("data.toml"), data).expect("a file");
    std::fs::write(folder.path("world.toml"), SMALL_WORLD).expect("a file");
    let entries = |name: &str| {
        std::fs::read_dir(folder.path(name))
            .expect("a folder")
            .count()
    };
    let before = (entries("tiny"), entries("videos"));
    let command = "evaluate --model tiny --frames 6 --samples 1 --metrics psnr";
    for (arguments, what) in [
        (
            "--data data.toml --out tiny",
            "--out tiny is in tiny, which --model reads",
        ),
        ("--data data.toml --out tiny/x/y", "which --model reads"),
        (
            "--data data.toml --out videos/../videos",
            "which --data reads",
        ),
        (
            "--data world.toml --videos videos --out videos/e",
            "which --videos reads",
        ),
    ] {
        folder.fails(&format!("{command} {arguments}"), what);
    }
    #[cfg(unix)]
    {
        std::fs::create_dir(folder.path("linked")).expect("a folder");
        let link = folder.path("linked/report.json");
        std::os::unix::fs::symlink(folder.path("data.toml"), link).expect("a link");
        folder.fails(
            &format!("{command} --data data.toml --out linked"),
            "report.json there is data.toml, which --data reads",
        );
    }
    assert_eq!((entries("tiny"), entries("videos")), before);
}

#[test]
fn evaluation_tells_that_guidance_moves_away_from_zeros() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    let said = |arguments: &str| {
        let output = folder.run(&format!("{EVALUATE} {arguments}"));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let note = "guidance 2 moves away from a context of zeros";
    assert!(!said("--out plain").contains(note));
    assert!(said("--out guided --guidance 2").contains(note));
    assert!(!said("--out guided --guidance 2 --quiet").contains(note));
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
    // Samples that are NaN would be measured as black ones.
    let broken = folder.run(&format!(
        "{command} --samples 4 --guidance 1e300 --out broken"
    ));
    let error = String::from_utf8_lossy(&broken.stderr);
    assert_eq!(broken.status.code(), Some(2), "{error}");
    assert!(error.contains("came out of sampling as NaN"), "{error}");
    assert!(!folder.path("broken/report.json").exists());
    folder.fails(
        "evaluate --model tiny --data data.toml --samples 4 --class 0 --out new",
        "no classes",
    );
}

#[test]
fn evaluation_as_published() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    let command = "evaluate --model tiny --frames 6 --steps 4 --ar-step 2 --metrics psnr,world \
                   --protocol published";
    let report = |arguments: &str| -> Value {
        folder.ok(&format!("{command} --data data.toml {arguments}"));
        serde_json::from_slice(&folder.read("evaluation/report.json")).expect("JSON")
    };
    // 16 of the 20 clips are for training, more than are for validation.
    let published = report("--samples 12");
    assert_eq!(published["protocol"]["split"], "training");
    assert_eq!(published["protocol"]["fid_frames"], "one");
    // Without errors there is no ratio.
    assert!(published["sources"][0]["psnr"].is_null());
    for (arguments, what) in [
        (
            "--data data.toml",
            "--samples is 2048, and data.toml has 16",
        ),
        ("--samples 4", "--data is needed"),
        (
            "--data data.toml --samples 12 --seed 1",
            "seed is 0 there and 1 now",
        ),
        (
            "--data data.toml --samples 1000000000",
            "can be at most 1000000",
        ),
    ] {
        folder.fails(&format!("{command} {arguments}"), what);
    }

    // Only videos that the list of the split names.
    std::fs::create_dir(folder.path("videos")).expect("a folder");
    for name in ["a", "b", "c"] {
        let clip = Clip::new(vec![Frame::new(16, 16, vec![90; 16 * 16 * 3]); 6]);
        let path = folder.path(&format!("videos/{name}.apng"));
        write_clip(path, &clip, VideoFormat::Apng, 8.0).expect("a file");
    }
    std::fs::write(folder.path("train.txt"), "a.apng\nc.apng\n").expect("a file");
    let videos = "[data]\npath = \"videos\"\nlist = \"train.txt\"\nvalidation = 0\n\
                  [data.videos]\nsize = 16";
    std::fs::write(folder.path("videos.toml"), videos).expect("a file");
    folder.fails(
        &format!("{command} --data videos.toml --samples 3 --out split"),
        "has 2 training clips",
    );
    // Unless the configuration says so, no clip of the split is set aside.
    let text = videos.replace("validation = 0\n", "");
    std::fs::write(folder.path("all.toml"), text).expect("a file");
    folder.fails(
        &format!("{command} --data all.toml --samples 3 --out split"),
        "has 2 training clips",
    );
    let one = videos.replace("validation = 0", "validation = 1");
    std::fs::write(folder.path("one.toml"), one).expect("a file");
    folder.fails(
        &format!("{command} --data one.toml --samples 3 --out split"),
        "has 1 training clips",
    );
    if !has_ffmpeg() {
        return;
    }
    std::fs::remove_dir_all(folder.path("evaluation")).expect("a folder");
    let lossy = report("--samples 2 --through-mp4");
    assert_eq!(lossy["protocol"]["through_mp4"], true);
    let psnr = lossy["sources"][0]["psnr"].as_f64().expect("losses");
    assert!((20.0..60.0).contains(&psnr), "{psnr}");
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
            folder.path("videos").join(name),
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
        (format!("{command} --samples 5 --out new"), "has 4 validation clips"),
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
