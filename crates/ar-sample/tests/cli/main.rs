//! The command, as a user runs it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests say what they skip"
)]

mod bad_input;
mod denoising;
mod devices;
mod evaluate;
mod latents;
mod models;
mod outputs;
mod plan;
mod prefix;
mod reconstruct;
mod set_metrics;
mod streams;
mod videos;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use ar_video::{Frame, read_clip};
use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use serde_json::Value;
use tempfile::TempDir;

/// Options for a quick video of the model `tiny`.
const TINY: &str = "--model tiny --steps 4 --ar-step 2";

/// The folder that commands run in.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a shell command line, in which `$AR` is the program.
    fn shell(&self, line: &str) -> Output {
        Command::new("bash")
            .args(["-c", line])
            .current_dir(self.0.path())
            .env("AR", env!("CARGO_BIN_EXE_ar-sample"))
            .output()
            .expect("a shell")
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

    /// Runs a command that has to succeed, and returns its standard output.
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

    /// The frames of a video.
    fn frames(&self, name: &str) -> Vec<Frame> {
        read_clip(self.path(name)).expect("a video").into_frames()
    }
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
