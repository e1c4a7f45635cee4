//! What the stages read, and how they handle unreadable files.

use std::path::Path;

use ar_data::SourceIds;

use super::{Folder, SMALL_DIFFUSION, SMALL_LATENTS, SMALL_VAE, config};

/// The contents of a folder, without the lists of skipped files.
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
        .filter(|(name, _)| !name.starts_with('.'))
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
    folder.ok(&format!("{latents} --set out=parts --part 1/2"));
    let diffusion = format!(
        "diffusion {} {SMALL_DIFFUSION} --set data.latents=parts",
        config("diffusion")
    );
    folder.fails(&diffusion, "1 of the 3 shards of parts are missing");
    folder.ok(&format!("{latents} --set out=parts --part 0/2"));
    let whole = contents(&folder.path("whole"));
    assert_eq!(
        whole.len(),
        8,
        "an index and three shards, and their checksums"
    );
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
        &format!("{latents} --set out=x --part 2/2"),
        "0/4, 1/4, 2/4 and 3/4",
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
    let videos = "[data]\nvalidation = 1\nlabels = \"folders\"\npath = \"videos\"\n\
                  [data.videos]\nsize = 32\nframes = 3\n";
    let write = |name: &str, text: String| {
        std::fs::write(folder.path(name), text).expect("a file");
    };
    write("vae.toml", format!("[vae]\nkind = \"conv\"\n{videos}"));
    write("latents.toml", videos.to_string());
    let small = SMALL_VAE.replace(
        "--set data.shapes.size=32 --set data.clips=20 --set data.validation=2",
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
    let latents = ar_data::LatentDataset::load(folder.path("latents"), None).expect("latents");
    assert_eq!(latents.class_names(), ["run", "walk"]);
    assert_eq!(latents.labels(), Some(&[0, 0, 1, 1, 1][..]));
    assert_eq!(folder.read("latents/skipped.txt"), skipped.as_bytes());
    // An id for each of the three videos, so that both stages set aside the same ones.
    let source = |clip| latents.source_id(clip);
    assert!(source(0) == source(1) && source(2) == source(4) && source(1) != source(2));

    let diffusion = format!(
        "diffusion {} {SMALL_DIFFUSION} --set run.steps=1 --set run.out=diffusion",
        config("diffusion")
    );
    folder.ok(&format!("{diffusion} --set conditioning.classes=2"));
    let model = String::from_utf8(folder.read("diffusion/model/config.toml")).expect("text");
    let model: ar_model::ModelConfig = model.parse().expect("a configuration");
    assert_eq!(model.conditioning.class_names, ["run", "walk"]);
    folder.fails(
        &format!("{diffusion} --set conditioning.classes=1"),
        "--set conditioning.classes=1: the latents have 2 classes",
    );

    for (arguments, what) in [
        (
            "--set data.labels=folder",
            "labels are \"folders\" or a CSV file",
        ),
        ("--set data.labels=gone.csv", "gone.csv"),
        ("--set data.path=gone", "cannot list gone"),
        (
            "--set data.videos.frames=10",
            "no video in videos has a usable clip",
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
