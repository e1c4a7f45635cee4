//! `ar-sample evaluate` with metrics of sets of clips, and with learned networks.

use ar_data::{ShapesConfig, ShapesWorld};
use ar_video::{Clip, Frame, VideoFormat, write_clip};
use serde_json::Value;

use super::Folder;
use super::evaluate::SMALL_WORLD;

#[test]
fn sets_of_clips_are_compared() {
    let folder = Folder::new();
    folder.tiny_model();
    // All of them are for validation.
    let data = SMALL_WORLD.replace("clips = 20", "clips = 4");
    std::fs::write(folder.path("data.toml"), data).expect("a file");
    let world = ShapesConfig {
        size: 16,
        frames: 6,
        max_shapes: 1,
        min_radius: 0.25,
        max_radius: 0.3,
        ..ShapesConfig::default()
    };
    let world = ShapesWorld::new(world).expect("a world");
    for name in ["same", "grey"] {
        std::fs::create_dir(folder.path(name)).expect("a folder");
    }
    for seed in 0..4 {
        let clip = world.clip(seed).clip;
        let grey = Clip::new(vec![Frame::new(16, 16, vec![128; 16 * 16 * 3]); 6]);
        for (name, clip) in [("same", &clip), ("grey", &grey)] {
            let path = folder.path(name).join(format!("{seed}.apng"));
            write_clip(&path, clip, VideoFormat::Apng, 8.0).expect("a file");
        }
    }
    let distances = |videos: &str| {
        folder.ok(&format!(
            "evaluate --model tiny --data data.toml --samples 4 --frames 6 --videos {videos} \
             --metrics latents --out of-{videos}"
        ));
        let report = folder.read(&format!("of-{videos}/report.json"));
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        ["latents", "latent_motion"]
            .map(|key| report["sources"][2][key].as_f64().expect("a distance"))
    };
    let (same, grey) = (distances("same"), distances("grey"));
    for (same, grey) in same.into_iter().zip(grey) {
        assert!(same.abs() < 1e-4 * grey, "{same} {grey}");
    }
}

#[test]
fn learned_metrics_take_the_weights_of_their_networks() {
    let folder = Folder::new();
    folder.tiny_model();
    std::fs::write(folder.path("data.toml"), SMALL_WORLD).expect("a file");
    let mut noise = std::iter::successors(Some(1_u64), |x| {
        Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1))
    })
    .map(|x| (x >> 40) as f32 / (1 << 23) as f32 - 1.0);
    // Sizes and numbers as published.
    let channels = [
        3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512,
    ];
    let layers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    let mut vgg = Vec::new();
    for (layer, of) in layers.into_iter().zip(channels.windows(2)) {
        let scale = (2.0 / (9 * of[0]) as f32).sqrt();
        let weights = noise.by_ref().take(of[0] * of[1] * 9).map(|x| x * scale);
        vgg.push((
            format!("features.{layer}.weight"),
            vec![of[1], of[0], 3, 3],
            weights.collect(),
        ));
        vgg.push((
            format!("features.{layer}.bias"),
            vec![of[1]],
            vec![0.0; of[1]],
        ));
    }
    let linear = [64, 128, 256, 512, 512].into_iter().enumerate();
    let linear: Vec<_> = linear
        .map(|(i, n)| {
            (
                format!("lin{i}.model.1.weight"),
                vec![1, n, 1, 1],
                vec![1.0; n],
            )
        })
        .collect();
    folder.write_tensors("vgg.safetensors", &vgg);
    folder.write_tensors("linear.safetensors", &linear);

    let command =
        "evaluate --model tiny --data data.toml --samples 2 --frames 6 --steps 4 --ar-step 2";
    folder.ok(&format!(
        "{command} --metrics lpips --weights vgg16=vgg.safetensors --weights lpips=linear.safetensors"
    ));
    let report: Value =
        serde_json::from_slice(&folder.read("evaluation/report.json")).expect("JSON");
    let lpips = |source: usize| report["sources"][source]["lpips"].as_f64();
    assert_eq!(lpips(0), Some(0.0));
    assert!(lpips(1).expect("of the reconstruction") > 1e-3);
    assert_eq!(lpips(2), None);

    for (options, what) in [
        ("--metrics fvd", "--weights i3d=FILE"),
        (
            "--metrics lpips --weights lpips=linear.safetensors",
            "--weights vgg16=FILE",
        ),
        (
            "--metrics fid --weights inception-v3=nowhere.pth",
            "nowhere.pth",
        ),
        ("--metrics is --weights c3d=vgg.safetensors", "at least 20"),
        (
            "--metrics lpips-alex --weights alexnet=vgg.safetensors",
            "needs frames of at least 31 pixels a side, but these have 16",
        ),
        // Of another network.
        (
            "--metrics fvd --weights i3d=vgg.safetensors",
            "vgg.safetensors",
        ),
    ] {
        folder.fails(&format!("{command} {options} --out new"), what);
    }
}
