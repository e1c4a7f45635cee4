//! Exact samples: against the reference, from given noise, and with parts of a model.

use ar_model::VideoModel;
use ar_video::Frame;
use burn::tensor::{Tensor, TensorData};
use serde_json::Value;

use super::models::golden;
use super::{Folder, last_line_json, relative_error, tensor};

#[test]
fn a_reference_run_is_reproduced() {
    // Float rounding of three layers, grown over 40 iterations.
    const TOLERANCE: f64 = 1e-4;
    let folder = Folder::new();
    folder.golden_model();
    let cases = std::fs::read(golden("cases.safetensors")).expect("golden cases");
    let (x_t, shape) = tensor(&cases, "sample.S10_s10_F4_g1.0.x_T");
    folder.write_tensor("noise.safetensors", "x_T", &x_t, &shape);
    let stdout = folder.ok(
        "--model golden --noise noise.safetensors --steps 10 --ar-step 10 \
         --save-latents latents.safetensors --batch 1 --json",
    );
    let (latents, latents_shape) = folder.latents("latents.safetensors");
    let (expected, expected_shape) = tensor(&cases, "sample.S10_s10_F4_g1.0.latents");
    assert_eq!(latents_shape, expected_shape);
    let error = relative_error(&latents, &expected);
    assert!(error <= TOLERANCE, "relative error {error:.2e}");

    let report = last_line_json(&stdout);
    let count = shape[0];
    let iterations = 10 + 10 * (4 - 1);
    assert_eq!(report["outputs"], Value::Array(Vec::new()));
    assert_eq!(report["latents"], "latents.safetensors");
    assert_eq!(report["count"], count);
    assert_eq!(report["frames"], 4);
    assert_eq!(report["network_evaluations"], iterations * count);
    // Ten steps per frame, and once more for the keys and values of all except the last.
    assert_eq!(report["frame_evaluations"], (4 * 10 + 3) * count);
    assert_eq!(report["sampler"]["method"], "active_frames");
}

#[test]
fn noise_depends_on_seed_video_and_frame_alone() {
    // Equal except for the order of sums, which depends on batch and length.
    const TOLERANCE: f64 = 1e-5;
    let folder = Folder::new();
    folder.golden_model();
    let run = |arguments: &str| {
        let common = "--model golden --steps 4 --ar-step 1 --eta 0.5 --seed 3";
        folder.ok(&format!(
            "{common} --save-latents x.safetensors {arguments}"
        ));
        folder.latents("x.safetensors")
    };
    let (together, shape) = run("--frames 4 --count 3");
    assert_eq!(shape, [3, 4, 6, 4]);
    let (apart, _) = run("--frames 4 --count 3 --batch 1");
    assert!(relative_error(&apart, &together) < TOLERANCE);
    let video = 4 * 6 * 4;
    assert!(relative_error(&together[..video], &together[video..2 * video]) > 0.1);
    // Frames see only earlier ones, so a shorter video is the beginning of a longer one.
    let (shorter, _) = run("--frames 3");
    assert!(relative_error(&shorter, &together[..shorter.len()]) < TOLERANCE);
}

#[test]
fn a_temporal_vae_decodes_whole_windows() {
    let folder = Folder::new();
    let transformer = "causal_mask = \"video_temporal_causal\"
        [conditioning]
        classes = 2
        class_names = [\"run\", \"walk\"]";
    folder.random_model("temporal", transformer, "temporal = true");
    let device = ar_device::open("cpu").expect("the CPU");
    let model = VideoModel::load(folder.path("temporal"), &device).expect("a model");

    let arguments = "--model temporal --class 1 --guidance 1.5 --frames 6 --steps 4 --ar-step 1";
    let stdout = folder.ok(&format!(
        "{arguments} --out a.apng --save-latents l.safetensors --json"
    ));
    // The published mask lets information from later frames reach earlier ones, so nothing can be
    // cached.
    let report = last_line_json(&stdout);
    assert_eq!(report["sampler"]["method"], "full_window");
    assert_eq!(report["frame_evaluations"], 4 * (4 + 5) * 2);
    let (values, shape) = folder.latents("l.safetensors");
    assert_eq!(shape, [1, 6, 4, 4]);
    let latents = Tensor::<4>::from_data(TensorData::new(values, shape), &device);
    let expected: Vec<Frame> = [(0, 4), (4, 2)]
        .into_iter()
        .flat_map(|(first, length)| {
            let pixels = model.decode(latents.clone().narrow(1, first, length));
            ar_data::to_frames(pixels.expect("a VAE").flatten(0, 1))
        })
        .collect();
    assert_eq!(folder.frames("a.apng"), expected);
    folder.fails(
        "--model temporal --class 2",
        "there is no class 2: the model knows classes 0 to 1: run, walk",
    );
    folder.fails("--model temporal --class jump", "run, walk");
    let by_name = arguments.replace("--class 1", "--class walk");
    for (class, out) in [(arguments, "number.png"), (&by_name, "name.png")] {
        folder.ok(&format!("{class} --out {out}"));
    }
    assert_eq!(folder.read("number.png"), folder.read("name.png"));
}

#[test]
fn a_model_without_classes_is_guided_away_from_zeros() {
    let folder = Folder::new();
    folder.golden_model();
    let cases = std::fs::read(golden("cases.safetensors")).expect("golden cases");
    let key = "sample.S10_s3_F4_g2.0";
    let (x_t, shape) = tensor(&cases, &format!("{key}.x_T"));
    folder.write_tensor("noise.safetensors", "x_T", &x_t, &shape);
    let arguments = "--model golden --noise noise.safetensors --steps 10 --ar-step 3 \
                     --save-latents latents.safetensors --guidance 2";
    let output = folder.run(arguments);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("note: guidance 2 moves away from"), "{said}");
    let (latents, _) = folder.latents("latents.safetensors");
    let (expected, _) = tensor(&cases, &format!("{key}.latents"));
    let error = relative_error(&latents, &expected);
    // As for the run without guidance.
    assert!(error <= 1e-4, "relative error {error:.2e}");
    let quiet = folder.run(&format!("{arguments} --quiet"));
    assert!(quiet.stderr.is_empty(), "{quiet:?}");
}

#[test]
fn a_network_without_an_end_takes_any_step_difference() {
    let folder = Folder::new();
    folder.tiny_model();
    let arguments = "--model tiny --frames 40 --steps 8 --out a.gif --save-latents l.safetensors";
    // Eight frames are active together, twice as many as a frame sees.
    let stdout = folder.ok(&format!("{arguments} --ar-step 1 --json"));
    let report = last_line_json(&stdout);
    assert_eq!(report["sampler"]["method"], "active_frames");
    assert_eq!(report["frame_evaluations"], 40 * 8 + 39);
    let (_, shape) = folder.latents("l.safetensors");
    assert_eq!(shape, [1, 40, 4, 4]);
    folder.fails(
        &format!("{arguments} --ar-step 0"),
        "slides past frames that have not taken all 8 steps, and the video has 40 frames: use \
         ar_step >= 1,",
    );
}
