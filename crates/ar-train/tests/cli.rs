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
    --set data.shapes.frames=3 --set out=latents --set clips_per_shard=4";
const SMALL_DIFFUSION: &str = "--set vae=vae/model --set data.latents=latents \
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

/// What a folder holds, but the lists of what was skipped.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a list");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn latents_are_encoded_in_parts_and_resumed() {
    let folder = Folder::new();
    folder.ok(&format!(
        "vae {} {SMALL_VAE} --set run.steps=1",
        config("vae")
    ));
    let latents = format!(
        "latents {} {SMALL_LATENTS} --set clips_per_shard=2",
        config("latents")
    );
    folder.ok(&format!("{latents} --set out=whole"));
    folder.ok(&format!("{latents} --set out=parts --shard 2/2"));
    let diffusion = format!(
        "diffusion {} {SMALL_DIFFUSION} --set data.latents=parts",
        config("diffusion")
    );
    folder.fails(&diffusion, "2 of the 3 shards of parts are missing");
    folder.ok(&format!("{latents} --set out=parts --shard 1/2"));
    let whole = contents(&folder.path("whole"));
    assert_eq!(whole.len(), 4, "an index and three shards");
    assert!(contents(&folder.path("parts")) == whole);

    let second = folder.path("parts/shard-00001-of-00003.safetensors");
    std::fs::remove_file(second).expect("a shard");
    folder.fails(&format!("{latents} --set out=parts"), "--resume");
    folder.fails(
        &format!("{latents} --set out=parts --set data.first_seed=3 --resume"),
        "first_seed = 3",
    );
    folder.ok(&format!(
        "{latents} --set out=parts --set data.workers=1 --resume"
    ));
    assert!(contents(&folder.path("parts")) == whole);
    folder.fails(
        &format!("{latents} --set out=x --shard 3/2"),
        "1/4, .., 4/4",
    );
    assert!(!folder.path("x").exists());
}

/// Frames in plain grey as a folder of pictures.
fn write_video(folder: &Path, frames: u8) {
    std::fs::create_dir_all(folder).expect("a folder");
    for t in 0..frames {
        let frame = ar_video::Frame::new(32, 32, vec![10 * t; 32 * 32 * 3]);
        let clip = ar_video::Clip::new(vec![frame]);
        let path = folder.join(format!("{t}.png"));
        ar_video::write_clip(&path, &clip, ar_video::VideoFormat::Apng, 1.0).expect("a picture");
    }
}

#[test]
fn broken_videos_are_listed_and_classes_are_kept() {
    let folder = Folder::new();
    for (video, frames) in [("run/a", 6), ("run/short", 2), ("walk/b", 9)] {
        write_video(&folder.path(&format!("videos/{video}")), frames);
    }
    std::fs::write(folder.path("videos/walk/broken.gif"), "GIF89a").expect("a file");
    let videos = "[data]\nheld_out = 1\nlabels = \"folders\"\npath = \"videos\"\n\
                  [data.videos]\nsize = 32\nframes = 3\n";
    let write = |name: &str, text: String| {
        std::fs::write(folder.path(name), text).expect("a file");
    };
    write("vae.toml", format!("[vae]\nkind = \"conv\"\n{videos}"));
    write("latents.toml", videos.to_string());
    let small = SMALL_VAE.replace(
        "--set data.shapes.size=32 --set data.clips=20 --set data.held_out=2",
        "",
    );
    folder.ok(&format!(
        "vae --config vae.toml {small} --set run.steps=2 --set data.flip=true"
    ));
    let skipped = String::from_utf8(folder.read("vae/skipped.txt")).expect("text");
    let lines: Vec<&str> = skipped.lines().collect();
    assert_eq!(lines.len(), 2, "{skipped}");
    assert!(
        lines[0].ends_with("it has 2 frames, but a clip has 3"),
        "{skipped}"
    );
    assert!(lines[1].contains("broken.gif: "), "{skipped}");

    folder.ok("latents --config latents.toml --set vae=vae/model --set out=latents");
    let latents = ar_data::LatentDataset::load(&folder.path("latents"), None).expect("latents");
    assert_eq!(latents.class_names(), ["run", "walk"]);
    assert_eq!(latents.labels(), Some(&[0, 0, 1, 1, 1][..]));
    assert_eq!(folder.read("latents/skipped.txt"), skipped.as_bytes());

    for (arguments, what) in [
        (
            "--set data.labels=folder",
            "labels are \"folders\" or a CSV file",
        ),
        ("--set data.labels=gone.csv", "gone.csv"),
        ("--set data.path=gone", "cannot list gone"),
        (
            "--set data.videos.frames=10",
            "no video in videos gives a clip",
        ),
        ("--set data.flip=true", "data.flip"),
        ("--set data.workers=0", "data.workers is 0"),
        ("--set data.moving_mnist.images=x", "exactly one of"),
        ("--set clips_per_shard=0", "clips_per_shard is 0"),
        ("--set out=vae.toml", "vae.toml is a file"),
    ] {
        let out = if arguments.contains("out=") {
            ""
        } else {
            "--set out=new"
        };
        folder.fails(
            &format!("latents --config latents.toml --set vae=vae/model {out} {arguments}"),
            what,
        );
    }
    assert!(!folder.path("new").exists());
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
