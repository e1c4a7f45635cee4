//! The command as a user runs it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
#[cfg(unix)]
use std::{
    thread,
    time::{Duration, Instant},
};

use ar_data::{ShapesConfig, ShapesWorld};
use ar_model::{ModelConfig, Precision, VideoModel};
use ar_video::{Clip, Frame, VideoFormat, read_clip, write_clip};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use serde_json::Value;
use tempfile::TempDir;

/// Gives every parameter values other than zero, which modulation and final layers begin with.
struct Waves;

impl ModuleMapper for Waves {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| {
            let places = 0..x.shape().num_elements() as i64;
            let places = Tensor::<1, Int>::arange(places, &x.device()).float();
            ((places * 12.9898).sin() * 0.3).reshape(x.shape())
        })
    }
}

/// A folder that commands run in.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ar-sample"))
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .output()
            .expect("the command starts")
    }

    fn start(&self, arguments: &str) -> Child {
        Command::new(env!("CARGO_BIN_EXE_ar-sample"))
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts")
    }

    /// Runs a command that has to succeed; its standard output.
    #[track_caller]
    fn ok(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that has to end with one line that names `what`, status 2, and no output.
    #[track_caller]
    fn fails(&self, arguments: &str, what: &str) {
        let before = self.list();
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.starts_with("error: "), "{arguments}: {error}");
        assert_eq!(error.lines().count(), 1, "{arguments}: {error}");
        assert!(error.contains(what), "{arguments}: {error}");
        assert!(output.stdout.is_empty(), "{arguments}");
        assert_eq!(self.list(), before, "{arguments}");
    }

    fn list(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path()).expect("a folder");
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        paths
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }

    /// The tensor `latents` of a file: its values and shape.
    fn latents(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        tensor(&self.read(name), "latents")
    }

    fn write_tensor(&self, file: &str, name: &str, values: &[f32], shape: &[usize]) {
        self.write_tensors(file, &[(name.into(), shape.to_vec(), values.to_vec())]);
    }

    /// Names, shapes and values.
    fn write_tensors(&self, file: &str, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., values)| bytes(values)).collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name.as_str(), view.expect("a tensor"))
        });
        serialize_to_file(views, None, &self.path(file)).expect("a file");
    }

    /// A model directory `golden` of a reference checkpoint: window 4, 6 tokens of 4 channels,
    /// causal in time, without a VAE.
    fn golden_model(&self) {
        let config: ModelConfig = r#"
            name = "golden"
            [transformer]
            num_frames = 4
            tokens_per_frame = 6
            in_channels = 4
            hidden_size = 48
            depth = 3
            num_heads = 4
            mlp_ratio = 4.0
            merge_mode = "share_norm"
            causal_mask = "temporal_causal"
            context_tokens = 5
            context_dim = 20
        "#
        .parse()
        .expect("a configuration");
        let device = ar_device::open("cpu").expect("the CPU");
        let weights = golden("model.safetensors");
        ar_model::import(config, Some(&weights), None, &device)
            .expect("a fitting checkpoint")
            .save(&self.path("golden"), Precision::Full)
            .expect("a model directory");
    }

    /// A model directory `tiny` of random weights: causal in time without an end, frames of 16x16.
    fn tiny_model(&self) {
        self.random_model("tiny", "", "");
    }

    /// A model directory of random weights whose transformer sees 4 frames, with more keys for its
    /// parts.
    fn random_model(&self, name: &str, transformer: &str, vae: &str) {
        let transformer = match transformer {
            "" => "causal_mask = \"temporal_causal\"\npositions = \"frame_rotary\"",
            keys => keys,
        };
        let config: ModelConfig = format!(
            r#"
            name = "{name}"
            [transformer]
            num_frames = 4
            tokens_per_frame = 4
            hidden_size = 16
            depth = 1
            num_heads = 2
            context_tokens = 2
            context_dim = 8
            {transformer}
            [vae]
            kind = "transformer"
            image_size = 16
            patch_size = 4
            width = 16
            layers = 1
            heads = 2
            latent_tokens = 4
            codebook_channels = 16
            {vae}
            [vae.pixel_decoder]
            hidden_channels = 8
            channel_multipliers = [1, 1, 1]
            res_blocks = 1
            z_channels = 8
            norm_groups = 4
            "#
        )
        .parse()
        .expect("a configuration");
        let device = ar_device::open("cpu").expect("the CPU");
        let mut model = VideoModel::init(config, &device).expect("a model");
        let transformer = model.transformer().expect("a transformer").clone();
        model.set_transformer(transformer.map(&mut Waves));
        model
            .save(&self.path(name), Precision::Full)
            .expect("a model directory");
    }

    /// The frames of a video.
    fn frames(&self, name: &str) -> Vec<Frame> {
        read_clip(&self.path(name)).expect("a video").into_frames()
    }
}

/// Colours of a size that no model has.
fn coloured_frames(count: u8) -> Vec<Frame> {
    let colour = |i: u8| [i * 20, 255 - i * 20, 100];
    (0..count)
        .map(|i| Frame::new(24, 20, colour(i).repeat(24 * 20)))
        .collect()
}

const TINY: &str = "--model tiny --steps 4 --ar-step 2";

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/dit_temporal_causal_x0")
        .join(file)
}

fn tensor(file: &[u8], name: &str) -> (Vec<f32>, Vec<usize>) {
    let file = SafeTensors::deserialize(file).expect("safetensors");
    let tensor = file.tensor(name).expect(name);
    assert_eq!(tensor.dtype(), Dtype::F32);
    let values = tensor
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
    (values.collect(), tensor.shape().to_vec())
}

/// `|actual - expected| / |expected|`
fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = actual.iter().zip(expected);
    norm(&mut pairs.map(|(&a, &e)| f64::from(a) - f64::from(e)))
        / norm(&mut expected.iter().map(|&e| f64::from(e)))
}

fn last_line_json(stdout: &str) -> Value {
    serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn the_default_is_a_playable_video() {
    let folder = Folder::new();
    let stdout = folder.ok("");
    assert!(
        stdout.starts_with("sample.mp4: 16 frames of 64x64 at "),
        "{stdout}"
    );
    assert_eq!(folder.list(), [folder.path("sample.mp4")]);
    let clip = read_clip(&folder.path("sample.mp4")).expect("a video");
    assert_eq!(
        (clip.frames().len(), clip.width(), clip.height()),
        (16, 64, 64)
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
            "{quick} --out part.png --save-latents part.safetensors --shard {part}/3 --json"
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
    folder.fails("--count 2 --shard 0/3", "none of the 2 videos");
}

#[test]
fn a_reference_run_is_reproduced() {
    // Float rounding of three layers, grown over 34 iterations.
    const TOLERANCE: f64 = 1e-4;
    let folder = Folder::new();
    folder.golden_model();
    let cases = std::fs::read(golden("cases.safetensors")).expect("golden cases");
    let (x_t, shape) = tensor(&cases, "sample.S10_s3_F9_g2.0.x_T");
    folder.write_tensor("noise.safetensors", "x_T", &x_t, &shape);
    let stdout = folder.ok(
        "--model golden --noise noise.safetensors --steps 10 --ar-step 3 --guidance 2 \
         --save-latents latents.safetensors --batch 1 --json",
    );
    let (latents, latents_shape) = folder.latents("latents.safetensors");
    let (expected, expected_shape) = tensor(&cases, "sample.S10_s3_F9_g2.0.latents");
    assert_eq!(latents_shape, expected_shape);
    let error = relative_error(&latents, &expected);
    assert!(error <= TOLERANCE, "relative error {error:.2e}");

    let report = last_line_json(&stdout);
    let count = shape[0];
    let iterations = 10 + 3 * (9 - 1);
    assert_eq!(report["outputs"], Value::Array(Vec::new()));
    assert_eq!(report["latents"], "latents.safetensors");
    assert_eq!(report["count"], count);
    assert_eq!(report["frames"], 9);
    assert_eq!(report["network_evaluations"], iterations * count);
    // Ten steps a frame, and once more for the keys and values of all but the last; twice for
    // guidance.
    assert_eq!(report["frame_evaluations"], (9 * 10 + 8) * 2 * count);
    assert_eq!(report["sampler"]["method"], "active_frames");
}

#[test]
fn noise_depends_on_seed_video_and_frame_alone() {
    // Equal but for the order of sums, which batch and length change.
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
    // Frames see earlier ones only, so a shorter video is the beginning of a longer one.
    let (shorter, _) = run("--frames 3");
    assert!(relative_error(&shorter, &together[..shorter.len()]) < TOLERANCE);
}

#[test]
fn a_temporal_vae_decodes_whole_windows() {
    let config: ModelConfig = r#"
        name = "temporal"
        [conditioning]
        classes = 2
        class_names = ["run", "walk"]
        [transformer]
        num_frames = 4
        tokens_per_frame = 4
        hidden_size = 16
        depth = 1
        num_heads = 2
        context_tokens = 2
        context_dim = 8
        [vae]
        kind = "transformer"
        image_size = 16
        patch_size = 4
        width = 16
        layers = 1
        heads = 2
        latent_tokens = 4
        codebook_channels = 16
        temporal = true
        [vae.pixel_decoder]
        hidden_channels = 8
        channel_multipliers = [1, 1, 1]
        res_blocks = 1
        z_channels = 8
        norm_groups = 4
    "#
    .parse()
    .expect("a configuration");
    let folder = Folder::new();
    let device = ar_device::open("cpu").expect("the CPU");
    let model = VideoModel::init(config, &device).expect("a model");
    model
        .save(&folder.path("temporal"), Precision::Full)
        .expect("a model directory");

    let arguments = "--model temporal --class 1 --guidance 1.5 --frames 6 --steps 4 --ar-step 1";
    let stdout = folder.ok(&format!(
        "{arguments} --out a.apng --save-latents l.safetensors --json"
    ));
    // The published mask lets later frames reach earlier ones: nothing can be kept.
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
    let frames = read_clip(&folder.path("a.apng"))
        .expect("a video")
        .into_frames();
    assert_eq!(frames, expected);
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
fn a_network_without_an_end_takes_any_step_difference() {
    let config: ModelConfig = r#"
        name = "endless"
        [transformer]
        num_frames = 4
        tokens_per_frame = 4
        hidden_size = 16
        depth = 2
        num_heads = 2
        causal_mask = "temporal_causal"
        positions = "frame_rotary"
        context_tokens = 2
        context_dim = 8
    "#
    .parse()
    .expect("a configuration");
    let folder = Folder::new();
    let device = ar_device::open("cpu").expect("the CPU");
    let model = VideoModel::init(config, &device).expect("a model");
    model
        .save(&folder.path("endless"), Precision::Full)
        .expect("a model directory");

    let arguments = "--model endless --frames 40 --steps 8 --save-latents l.safetensors";
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

#[test]
fn json_says_what_was_done() {
    let folder = Folder::new();
    let stdout =
        folder.ok("--frames 5 --steps 6 --ar-step 2 --count 2 --fps 7.5 --out a.gif --json");
    let report = last_line_json(&stdout);
    assert_eq!(report["outputs"], serde_json::json!(["a-0.gif", "a-1.gif"]));
    let iterations = 6 + 2 * (5 - 1);
    assert_eq!(report["network_evaluations"], iterations);
    // Two videos; six steps a frame, and once more for the keys and values of all but the last.
    assert_eq!(report["frame_evaluations"], 2 * (5 * 6 + 4));
    assert_eq!(report["format"], "gif");
    assert_eq!(report["fps"], 7.5);
    assert_eq!(report["sampler"]["method"], "active_frames");
    assert_eq!(report["sampler"]["steps"], 6);
    assert_eq!(report["sampler"]["ar_step"], 2);
    let second = |phase: &str| report["seconds"][phase].as_f64().expect(phase);
    // Decoding and encoding run beside sampling.
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

/// Names and contents of the boxes of an MP4 file, or inside of one.
fn boxes(mut bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut boxes = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        boxes.push((&rest[..4], &rest[4..size - 4]));
        bytes = &bytes[size..];
    }
    boxes
}

#[test]
fn a_stream_is_fragmented_mp4() {
    let folder = Folder::new();
    folder.tiny_model();
    let output = folder.run(&format!("{TINY} --frames 6 --out - --json"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // The video has the standard output for itself.
    assert!(
        errors.starts_with("standard output: 6 frames of 16x16"),
        "{errors}"
    );
    assert_eq!(last_line_json(&errors)["outputs"], serde_json::json!(["-"]));

    let stream = boxes(&output.stdout);
    let names: Vec<&[u8]> = stream.iter().map(|(name, _)| *name).collect();
    let fragments = [&b"moof"[..], b"mdat"].repeat(6);
    assert_eq!(names, [&[&b"ftyp"[..], b"moov"], &fragments[..]].concat());
    let header = boxes(stream[1].1);
    assert!(header.iter().any(|(name, _)| *name == b"mvex"));
    assert_eq!(folder.list(), [folder.path("tiny")]);
}

#[test]
fn a_raw_stream_is_the_pixels() {
    let folder = Folder::new();
    folder.tiny_model();
    let arguments = format!("{TINY} --frames 6 --seed 3");
    folder.ok(&format!("{arguments} --out a.apng"));
    let stream = folder.run(&format!("{arguments} --out - --format raw"));
    assert!(stream.status.success());
    assert_eq!(stream.stdout.len(), 6 * 16 * 16 * 3);
    let frames = folder.frames("a.apng");
    let expected: Vec<u8> = frames.into_iter().flat_map(Frame::into_rgb).collect();
    assert_eq!(stream.stdout, expected);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = Folder::new();
    folder.tiny_model();
    let mut process = folder.start(&format!("{TINY} --frames 100000 --out - --format raw"));
    let mut stdout = process.stdout.take().expect("a pipe");
    let mut frame = [0; 16 * 16 * 3];
    stdout.read_exact(&mut frame).expect("a frame");
    drop(stdout);
    let output = process.wait_with_output().expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

/// Presses Ctrl-C and waits for the end.
#[cfg(unix)]
fn interrupt(process: std::process::Child) -> std::process::Output {
    let interrupt = Command::new("kill")
        .args(["-INT", &process.id().to_string()])
        .status();
    assert!(interrupt.expect("kill").success());
    let output = process.wait_with_output().expect("an end");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{errors}");
    output
}

#[cfg(unix)]
#[test]
fn an_interrupted_video_plays() {
    let folder = Folder::new();
    folder.tiny_model();
    let process = folder.start(&format!("{TINY} --frames 100000 --out kept.gif --json"));
    let written = || {
        let files = folder.list().into_iter();
        let unfinished = files.filter(|path| path.to_string_lossy().contains(".unfinished-"));
        unfinished
            .filter_map(|path| std::fs::metadata(path).ok())
            .map(|file| file.len())
            .sum::<u64>()
    };
    let patience = Instant::now() + Duration::from_secs(120);
    while written() < 4096 {
        assert!(Instant::now() < patience, "nothing written");
        thread::sleep(Duration::from_millis(10));
    }
    let output = interrupt(process);
    let report = last_line_json(&String::from_utf8(output.stdout).expect("text"));
    assert_eq!(report["frames_sampled"], folder.frames("kept.gif").len());
    assert_eq!(
        folder.list(),
        [folder.path("kept.gif"), folder.path("tiny")]
    );
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_finished_frames() {
    let folder = Folder::new();
    folder.tiny_model();
    let process = folder.start(&format!(
        "{TINY} --frames 100000 --out kept --format png --json"
    ));
    // Frames appear in a folder under another name.
    let frames = || {
        let folders = folder.list().into_iter();
        let unfinished = folders.filter(|path| path.to_string_lossy().contains(".unfinished-"));
        unfinished
            .filter_map(|path| std::fs::read_dir(path).ok())
            .map(Iterator::count)
            .sum::<usize>()
    };
    let patience = Instant::now() + Duration::from_secs(120);
    while frames() < 3 {
        assert!(Instant::now() < patience, "no frames");
        thread::sleep(Duration::from_millis(10));
    }
    let output = interrupt(process);

    let kept = folder.frames("kept").len();
    assert!((3..100_000).contains(&kept));
    let stdout = String::from_utf8(output.stdout).expect("text");
    let expected = format!("kept: interrupted, kept {kept} of 100000 frames of 16x16");
    assert!(stdout.starts_with(&expected), "{stdout}");
    let report = last_line_json(&stdout);
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["frames_sampled"], kept);
    assert_eq!(folder.list(), [folder.path("kept"), folder.path("tiny")]);
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
        &folder.path("in.apng"),
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
    // Four steps each, and once more for all but the last: nothing more for the prefix than its
    // keys and values.
    assert_eq!(report["frame_evaluations"], 3 + 4 * 4 + 3);

    // A prefix longer than the window, and as many frames as were asked for.
    let (report, longer) = run("--prefix-frames 6 --frames 9");
    assert_eq!(report["frames_sampled"], 3);
    assert_eq!(longer.len(), 9);
    assert_eq!(longer[..6], given[2..]);
    assert_eq!(run("--prefix-frames 6 --frames 9").1, longer);

    // What is sampled depends on the prefix, not on its place alone.
    write_clip(
        &folder.path("other.apng"),
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
fn a_temporal_decoder_sees_the_prefix() {
    let folder = Folder::new();
    // Whole windows, and a decoder of four frames at a time.
    folder.random_model(
        "temporal",
        "causal_mask = \"video_temporal_causal\"",
        "temporal = true",
    );
    write_clip(
        &folder.path("in.gif"),
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
    let model = VideoModel::load(&folder.path("temporal"), &device).expect("a model");
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
    write_clip(&folder.path("images"), &clip, VideoFormat::Png, 8.0).expect("a folder");
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
            "--prefix-frames is 2, and images has 1 frames",
        ),
        ("--frames 1", "--frames is 1 with the 1 of the prefix"),
        ("--ar-step 0 --frames 5", "nothing of the prefix"),
    ] {
        folder.fails(
            &format!("--model tiny --steps 4 --prefix images {arguments}"),
            what,
        );
    }
}

#[test]
fn bad_options_are_one_line() {
    let folder = Folder::new();
    folder.golden_model();
    std::fs::write(folder.path("file"), "text").expect("a file");
    for (arguments, what) in [
        ("--frames 0", "frames is 0"),
        ("--steps 0", "steps"),
        ("--steps 1000", "steps must be in 1..=999"),
        ("--ar-step 51 --steps 50", "ar_step 51 is larger"),
        (
            "--model golden --save-latents l --frames 9 --steps 50 --ar-step 1",
            "use ar_step >= 13",
        ),
        ("--guidance nan", "guidance is NaN"),
        ("--eta -1", "eta is -1"),
        ("--eta nan", "eta is NaN"),
        ("--model golden --save-latents l --class 3", "no classes"),
        ("--fps 0", "frame rate of 0"),
        ("--fps nan", "frame rate of NaN"),
        ("--device abacus", "device 'abacus' is not available"),
        ("--out new/a.mp4 --device abacus", "device 'abacus'"),
        ("reconstruct file --out new/a.mp4", "file: "),
        ("--out a.webm", "no format has this extension"),
        ("--out a.mp4 --format gif", "--format is gif"),
        ("--out file/a.mp4", "file"),
        (
            "--save-latents file/a.safetensors",
            "file/a.safetensors: cannot write",
        ),
        ("--save-latents golden", "this is a folder"),
        ("--model nowhere", "nowhere: not a model directory"),
        ("--model golden", "no VAE"),
        (
            "--model golden --save-latents l --out a.mp4",
            "--out is given",
        ),
        ("--noise nowhere", "nowhere: No such file"),
        ("plan --frames 0", "frames is 0"),
        ("plan --frames 20 --window 4", "use ar_step >= 13"),
        ("plan --picture plan.jpg", "only .svg and .png"),
        ("reconstruct file --model golden", "no VAE"),
        ("--out - --count 2", "--out - is one video"),
        ("--out - --format gif", "--out - takes mp4 or raw"),
        ("--out - --format apng", "and not apng"),
        ("--out - --format png", "and not png"),
        ("--prefix nowhere.mp4", "nowhere.mp4: no such file"),
        ("--prefix file", "file: "),
        (
            "--model golden --save-latents l --prefix file",
            "no VAE to encode",
        ),
    ] {
        folder.fails(arguments, what);
    }
    // What clap finds takes more lines, with the usage.
    assert_eq!(folder.run("--count 0").status.code(), Some(2));
    assert_eq!(folder.run("--frame 3").status.code(), Some(2));
}

#[test]
fn bad_noise_is_one_line() {
    let folder = Folder::new();
    folder.golden_model();
    let noise = |values: &[f32], shape: &[usize]| {
        folder.write_tensor("noise.safetensors", "x_T", values, shape);
    };
    let fails = |arguments: &str, what: &str| {
        let common = "--model golden --noise noise.safetensors --save-latents l.safetensors";
        folder.fails(&format!("{common} {arguments}"), what);
    };
    noise(&[0.5; 72], &[1, 3, 6, 4]);
    fails("--frames 4", "--frames 4 contradicts noise.safetensors");
    fails("--count 2", "--count 2 contradicts noise.safetensors");
    noise(&[0.5; 72], &[1, 3, 4, 6]);
    fails("", "`x_T` has 4 tokens of 6 channels");
    noise(&[0.5; 72], &[3, 6, 4]);
    fails("", "should have [batch, frames, tokens, channels]");
    noise(&[], &[0, 3, 6, 4]);
    fails("", "holds no noise");
    let mut values = [0.5; 144];
    values[100] = f32::NAN;
    noise(&values, &[2, 3, 6, 4]);
    fails("", "`x_T` holds NaN in frame 1 of video 1");
    folder.write_tensor("noise.safetensors", "x_0", &[0.5; 72], &[1, 3, 6, 4]);
    fails("", "no tensor `x_T`; the file has x_0");
    for bytes in [&b""[..], b"not a safetensors file"] {
        std::fs::write(folder.path("noise.safetensors"), bytes).expect("a file");
        fails("", "not a readable safetensors file");
    }
    // Noise that is finite but far too large ends as NaN, after the start and without output.
    noise(&[3e38; 72], &[1, 3, 6, 4]);
    fails("", "came out of sampling as NaN or infinity");
}

#[test]
fn bad_models_are_one_line() {
    let folder = Folder::new();
    folder.golden_model();
    let config = folder.path("golden/config.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let arguments = "--model golden --save-latents l.safetensors";

    std::fs::write(&config, format!("shape = 3\n{text}")).expect("a file");
    folder.fails(arguments, "unknown field `shape`");
    std::fs::write(&config, text.replace("depth = 3", "depth = 4")).expect("a file");
    folder.fails(arguments, "missing: diffusion_model.model.blocks.3.");
    std::fs::write(&config, &text).expect("a file");
    let weights = folder.path("golden/transformer.safetensors");
    let whole = std::fs::read(&weights).expect("weights");
    std::fs::write(&weights, &whole[..whole.len() / 2]).expect("a file");
    folder.fails(arguments, "not a readable safetensors file");
    std::fs::remove_file(&weights).expect("removed");
    folder.fails(arguments, "transformer.safetensors: No such file");
}

#[test]
fn an_existing_video_survives_an_error() {
    let folder = Folder::new();
    folder.ok("--frames 2 --steps 2 --ar-step 1 --out a.gif");
    let video = folder.read("a.gif");
    folder.fails("--frames 0 --out a.gif", "frames is 0");
    assert_eq!(folder.read("a.gif"), video);
}

#[test]
fn a_plan_is_printed_and_drawn() {
    let folder = Folder::new();
    let text = folder.ok("plan --frames 3 --steps 2 --ar-step 1 --picture plan.svg");
    let expected = "\
3 frames, 2 steps, step difference 1: 4 iterations
frame evaluations: 12 over whole windows
                    6 over active frames only (2.0x fewer)

a number is the step that a frame takes, . waits, # is finished

iteration   0 1 2
        0   1 . .
        1   2 1 .
        2   # 2 1
        3   # # 2
";
    assert_eq!(text, expected);
    let svg = String::from_utf8(folder.read("plan.svg")).expect("text");
    assert!(svg.starts_with("<svg") && svg.contains("iteration") && svg.contains("waiting"));
    folder.ok("plan --picture plan.png");
    let picture = read_clip(&folder.path("plan.png")).expect("a picture");
    assert_eq!(picture.frames().len(), 1);
}

#[test]
fn reconstruction_is_measured() {
    let folder = Folder::new();
    // More frames than are decoded at once, not square, and larger than the VAE's.
    let shade = |i: u8| Frame::new(96, 80, [i * 10, 40, 200 - i * 10].repeat(96 * 80));
    let clip = Clip::new((0..19).map(shade).collect());
    write_clip(&folder.path("in.apng"), &clip, VideoFormat::Apng, 8.0).expect("a video");
    let stdout = folder.ok("reconstruct in.apng --out out.apng --json");
    let first = stdout.lines().next().expect("a line");
    assert!(first.starts_with("out.apng: 19 frames of 64x64"), "{first}");
    assert!(
        first.contains("PSNR ") && first.contains("SSIM "),
        "{first}"
    );
    let report = last_line_json(&stdout);

    let output = read_clip(&folder.path("out.apng"))
        .expect("a video")
        .into_frames();
    let input = clip
        .frames()
        .iter()
        .map(|frame| ar_video::square_crop(frame, 64));
    let input: Vec<Frame> = input.collect();
    let close = |key: &str, expected: f64| {
        let value = report[key].as_f64().expect(key);
        assert!((value - expected).abs() < 1e-9, "{key}: {value}");
    };
    close("psnr", ar_metrics::psnr(&input, &output));
    close("ssim", ar_metrics::ssim(&input, &output));

    std::fs::write(folder.path("text.mp4"), "not a video").expect("a file");
    std::fs::write(folder.path("empty.mp4"), "").expect("a file");
    let apng = folder.read("in.apng");
    std::fs::write(folder.path("torn.apng"), &apng[..apng.len() / 2]).expect("a file");
    for (video, what) in [
        ("nowhere.mp4", "nowhere.mp4: no such file"),
        ("text.mp4", "text.mp4: "),
        ("empty.mp4", "the file is empty"),
        ("torn.apng", "torn.apng: cannot decode"),
    ] {
        folder.fails(&format!("reconstruct {video} --out new.gif"), what);
    }
}

/// Clips of shapes as small as the tiny model's frames.
const SMALL_WORLD: &str = r#"
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
fn denoising_is_shown_iteration_by_iteration() {
    let folder = Folder::new();
    folder.tiny_model();
    let report = last_line_json(&folder.ok(&format!(
        "{TINY} --frames 6 --out a.apng --denoising strips.apng --json"
    )));
    assert_eq!(report["denoising"], "strips.apng");
    let (video, strips) = (folder.frames("a.apng"), folder.frames("strips.apng"));
    // Before the first iteration and after each of 4 + 2 * 5.
    assert_eq!(strips.len(), 15);
    let column = |strip: &Frame, frame: usize| -> Vec<u8> {
        assert_eq!(strip.size(), (6 * 16 + 5 * 2, 16));
        let rows = strip.rgb().chunks_exact(strip.width() * 3);
        let left = frame * (16 + 2) * 3;
        rows.flat_map(|row| row[left..left + 16 * 3].to_vec())
            .collect()
    };
    for (index, frame) in video.iter().enumerate() {
        // Waits until iteration 2 * index, is denoised for 4, and is finished.
        let states: Vec<Vec<u8>> = strips.iter().map(|strip| column(strip, index)).collect();
        let (start, end) = (2 * index, 2 * index + 4);
        assert!(
            states[..=start].iter().all(|state| *state == states[0]),
            "{index}"
        );
        assert_ne!(states[start], states[end]);
        for state in &states[end..] {
            // Decoded together with others, which may round otherwise.
            let pairs = state.iter().zip(frame.rgb());
            assert!(
                pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1),
                "{index}"
            );
        }
    }
    for (arguments, what) in [
        ("--count 2 --denoising new.gif", "there are 2 to generate"),
        ("--denoising new.txt", "no format has this extension"),
    ] {
        folder.fails(&format!("{TINY} {arguments}"), what);
    }
}

#[test]
fn sets_of_clips_are_compared() {
    let folder = Folder::new();
    folder.tiny_model();
    // All are held out.
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
    ] {
        folder.fails(&format!("{command} {options} --out new"), what);
    }
    // Of another network.
    let wrong = folder.run(&format!(
        "{command} --metrics fvd --weights i3d=vgg.safetensors --out new"
    ));
    assert_eq!(wrong.status.code(), Some(2));
    let error = String::from_utf8_lossy(&wrong.stderr);
    assert!(error.contains("vgg.safetensors"), "{error}");
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

#[test]
fn devices_are_listed() {
    let devices = Folder::new().ok("devices");
    assert!(
        devices
            .lines()
            .next()
            .expect("a line")
            .ends_with("(default)"),
        "{devices}"
    );
    assert!(devices.contains("cpu "), "{devices}");
    for name in ["cuda", "vulkan", "wgpu", "metal"] {
        assert!(devices.contains(name), "{devices}");
    }
}
