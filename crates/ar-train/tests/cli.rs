//! The command as a user runs it, with the committed configurations shrunk through `--set`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ar_model::VideoModel;
use burn::tensor::{Device, Tensor};
use tempfile::TempDir;

const SMALL_VAE: &str = "--set vae.image_size=32 --set vae.patch_size=8 --set vae.channels=[8,8] \
    --set vae.latent_channels=4 \
    --set data.shapes.size=32 --set data.clips=20 --set data.held_out=2 \
    --set run.batch_size=2 --set run.log_every=1 --set optimizer.schedule=constant \
    --set run.out=vae";
const SMALL_LATENTS: &str = "--set vae=vae/model --set data.clips=6 --set data.shapes.size=32 \
    --set data.shapes.frames=3 --set out=latents.safetensors";
const SMALL_DIFFUSION: &str = "--set vae=vae/model --set data.latents=latents.safetensors \
    --set data.held_out=2 --set transformer.num_frames=3 --set transformer.tokens_per_frame=4 --set transformer.in_channels=4 \
    --set transformer.hidden_size=16 --set transformer.num_heads=2 --set transformer.depth=1 \
    --set run.batch_size=2 --set run.log_every=1 --set optimizer.schedule=constant";

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
        Command::new(env!("CARGO_BIN_EXE_ar-train"))
            .current_dir(self.0.path())
            .args(arguments.split_whitespace())
            .output()
            .expect("the command starts")
    }

    #[track_caller]
    fn ok(&self, arguments: &str) {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {errors}");
    }

    /// Runs a command that has to end with status 2 and an error that names `what`.
    #[track_caller]
    fn fails(&self, arguments: &str, what: &str) {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains("error: "), "{arguments}: {error}");
        assert!(error.contains(what), "{arguments}: {error}");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect(name)
    }
}

fn config(stage: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/shapes");
    format!("--config {}", path.join(format!("{stage}.toml")).display())
}

#[test]
fn the_stages_make_a_model_and_resume_exactly() {
    let folder = Folder::new();
    let vae = format!("vae {} {SMALL_VAE} --set run.steps=2", config("vae"));
    folder.ok(&vae);
    folder.fails(&vae, "holds a run already");
    folder.ok(&format!("latents {} {SMALL_LATENTS}", config("latents")));

    let diffusion = format!("diffusion {} {SMALL_DIFFUSION}", config("diffusion"));
    folder.ok(&format!(
        "{diffusion} --set run.out=whole --set run.steps=5"
    ));
    folder.ok(&format!(
        "{diffusion} --set run.out=parts --set run.steps=2"
    ));
    folder.ok(&format!(
        "{diffusion} --set run.out=parts --set run.steps=5 --resume"
    ));
    for file in ["model/transformer.safetensors", "model/vae.safetensors"] {
        let [whole, parts] = ["whole", "parts"].map(|run| folder.read(&format!("{run}/{file}")));
        assert!(whole == parts, "{file} differs after resuming");
    }
    let metrics = String::from_utf8(folder.read("parts/metrics.jsonl")).expect("text");
    assert_eq!(metrics.matches("\"loss\"").count(), 5, "{metrics}");

    let model = VideoModel::load(&folder.path("whole/model"), &Device::flex()).expect("a model");
    assert_eq!(model.config().name, "shapes");
    let latents = Tensor::ones([1, 3, 4, 4], &Device::flex());
    let pixels = model.decode(latents).expect("a VAE");
    assert_eq!(pixels.dims(), [1, 3, 3, 32, 32]);

    folder.ok("export --model whole/model --out half --half");
    let size = |name: &str| {
        folder
            .read(&format!("{name}/transformer.safetensors"))
            .len()
    };
    assert!(size("half") < size("whole/model") * 6 / 10);
    VideoModel::load(&folder.path("half"), &Device::flex()).expect("a model");
}

#[test]
fn bad_input_is_an_error() {
    let folder = Folder::new();
    let vae = format!("vae {} {SMALL_VAE}", config("vae"));
    for (arguments, what) in [
        ("vae --config nowhere.toml".into(), "nowhere.toml"),
        (format!("{vae} --set run.step=3"), "unknown field `step`"),
        (format!("{vae} --set run.steps"), "KEY=VALUE"),
        (format!("{vae} --set run.steps=0"), "run.steps is 0"),
        (format!("{vae} --set vae.patch_size=5"), "a multiple of 10"),
        (format!("{vae} --set vae.image_size=64"), "32x32"),
        (
            format!("{vae} --set data.held_out=20"),
            "data.held_out = 20",
        ),
        (format!("{vae} --device tpu"), "device 'tpu'"),
        (
            format!("latents {} --set vae=nowhere", config("latents")),
            "nowhere: not a model directory",
        ),
        (
            format!("diffusion {} --set vae=", config("diffusion")),
            "vae is not given",
        ),
        (
            "import --config nowhere.toml --out new".into(),
            "--transformer",
        ),
    ] {
        folder.fails(&arguments, what);
    }
    let left = std::fs::read_dir(folder.0.path()).expect("a list").count();
    assert_eq!(left, 0, "errors leave nothing behind");
}
