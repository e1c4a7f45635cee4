//! Faults around a run: signals, damage, two runs at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::{Folder, SMALL_DIFFUSION, SMALL_LATENTS, SMALL_VAE, config};

fn vae() -> String {
    format!("vae {} {SMALL_VAE}", config("vae"))
}

/// Flips a bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

impl Folder {
    fn checkpoint(&self, step: usize) -> PathBuf {
        self.path(&format!("vae/checkpoints/step-{step:08}"))
    }

    /// A command's standard error.
    fn says(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments}: {text}");
        text
    }
}

/// Ctrl-C in a terminal reaches every process of the command line, here also `tee`, which ends at
/// once.
#[cfg(unix)]
#[test]
fn an_interrupt_that_ends_the_reader_of_messages_leaves_a_checkpoint() {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    let folder = Folder::new();
    for (signal, redirection) in [
        ("INT", "2>&1 | tee log"),
        ("TERM", "2>&1 | tee log"),
        ("INT", "2>/dev/full | cat"),
        ("INT", "2>&- | cat"),
        ("HUP", "2>&1 | tee log"),
    ] {
        let line = format!(
            "trap : INT TERM HUP; $AR {} --set run.steps=1000000 --set run.checkpoint_every=0 {redirection}; \
             echo ${{PIPESTATUS[0]}} >code",
            vae()
        );
        let mut process = Command::new("bash")
            .args(["-c", &line])
            .current_dir(folder.0.path())
            .env("AR", env!("CARGO_BIN_EXE_ar-train"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let metrics = folder.path("vae/metrics.jsonl");
        while fs::metadata(&metrics).map_or(0, |file| file.len()) == 0 {
            assert!(process.try_wait().expect("a status").is_none());
            sleep(Duration::from_millis(5));
        }
        let killed = Command::new("kill")
            .args([&format!("-{signal}"), "--", &format!("-{}", process.id())])
            .status();
        assert!(killed.expect("kill").success());
        process.wait().expect("an end");
        assert_eq!(folder.read("code"), b"130\n", "{signal} {redirection}");
        let checkpoints = fs::read_dir(folder.path("vae/checkpoints")).expect("checkpoints");
        assert_eq!(checkpoints.count(), 1);
        fs::remove_dir_all(folder.path("vae")).expect("removed");
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_resumed() {
    let folder = Folder::new();
    let stage = format!(
        "{} --set run.checkpoint_every=1 --set run.keep_checkpoints=3",
        vae()
    );
    folder.ok(&format!("{stage} --set run.steps=3"));
    folder.ok(&format!("{stage} --set run.out=whole --set run.steps=4"));
    for file in [
        "weights.bpk",
        "average.bpk",
        "optimizer.bpk",
        "state.toml",
        "config.toml",
    ] {
        let path = folder.checkpoint(3).join(file);
        let before = fs::read(&path).expect(file);
        flip(&path);
        let text = folder.says(&format!("{stage} --set run.steps=2 --resume"));
        let said = text.lines().find(|line| line.contains(file));
        let said = said.unwrap_or_else(|| panic!("{file} is not named: {text}"));
        assert!(said.contains("step-00000003"), "{said}");
        assert!(
            text.contains("resuming from vae/checkpoints/step-00000002"),
            "{text}"
        );
        let aside = folder.path("vae/checkpoints/damaged-step-00000003");
        fs::rename(&aside, folder.checkpoint(3)).expect("put aside");
        fs::write(path, before).expect("written");
    }
    flip(&folder.checkpoint(3).join("weights.bpk"));
    folder.ok(&format!("{stage} --set run.steps=4 --resume"));
    let model = "model/vae.safetensors";
    let [resumed, whole] = ["vae", "whole"].map(|run| folder.read(&format!("{run}/{model}")));
    assert!(resumed == whole, "the resumed run differs");

    // One that has lost its checksums is none of an older version.
    let checksums = folder.checkpoint(4).join("checksums.txt");
    let lines = fs::read(&checksums).expect("checksums");
    fs::remove_file(&checksums).expect("removed");
    let text = folder.says(&format!("{stage} --set run.steps=2 --resume"));
    assert!(
        text.contains("step-00000004: checksums.txt is missing"),
        "{text}"
    );
    let aside = folder.path("vae/checkpoints/damaged-step-00000004");
    fs::rename(&aside, folder.checkpoint(4)).expect("put aside");
    fs::write(&checksums, lines).expect("written");

    for entry in fs::read_dir(folder.path("vae/checkpoints")).expect("a list") {
        let path = entry.expect("an entry").path();
        flip(&path.join("weights.bpk"));
    }
    let resumed = format!("{stage} --set run.steps=5 --resume");
    for what in [
        "step-00000004: weights.bpk is not as it was written",
        "step-00000002: weights.bpk is not as it was written",
        "no checkpoint is left to continue from",
        "--set run.out=FOLDER",
    ] {
        folder.fails(&resumed, what);
    }
}

/// Without checksums, damage shows when a file is read.
#[test]
fn a_damaged_checkpoint_of_an_older_version_is_named_with_the_one_before() {
    let folder = Folder::new();
    let stage = format!(
        "{} --set run.checkpoint_every=1 --set run.keep_checkpoints=2",
        vae()
    );
    folder.ok(&format!("{stage} --set run.steps=2"));
    folder.make_old("vae/checkpoints/step-00000002");
    let resumed = format!("{stage} --set run.steps=3 --resume");
    for file in ["optimizer.bpk", "weights.bpk", "average.bpk"] {
        let path = folder.checkpoint(2).join(file);
        let whole = fs::read(&path).expect(file);
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).expect("written");
            folder.fails(&resumed, &format!("step-00000002: {file}: "));
            folder.fails(&resumed, "continues from vae/checkpoints/step-00000001");
        }
        fs::write(&path, whole).expect("written");
    }
    flip(&folder.checkpoint(1).join("weights.bpk"));
    fs::write(folder.checkpoint(2).join("optimizer.bpk"), "").expect("written");
    folder.fails(&resumed, "no other checkpoint is left to continue from");
}

/// Weights of such a run are finite for some time, and so are its losses.
#[test]
fn what_has_exploded_replaces_neither_checkpoint_nor_model() {
    let folder = Folder::new();
    let stage = format!(
        "{} --set run.checkpoint_every=1 --set run.keep_checkpoints=1 --set optimizer.warmup_steps=0",
        vae()
    );
    folder.ok(&format!("{stage} --set run.steps=3"));
    let model = folder.read("vae/model/vae.safetensors");
    let weights = fs::read(folder.checkpoint(3).join("weights.bpk")).expect("weights");
    for rate in ["8e29", "1e6", "1e3"] {
        let resumed =
            format!("{stage} --resume --set run.steps=40 --set optimizer.learning_rate={rate}");
        folder.fails(
            &resumed,
            "the last good checkpoint is vae/checkpoints/step-00000003",
        );
        assert!(folder.read("vae/model/vae.safetensors") == model, "{rate}");
        let left = fs::read(folder.checkpoint(3).join("weights.bpk")).expect("weights");
        assert!(left == weights, "{rate}");
        let names = fs::read_dir(folder.path("vae/checkpoints")).expect("checkpoints");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        assert_eq!(
            names
                .filter(|name| name.to_string_lossy().starts_with("step-"))
                .count(),
            1
        );
    }
    // From the start, there is none.
    folder.fails(
        &format!("{stage} --set run.out=new --set run.steps=3 --set optimizer.learning_rate=8e29"),
        "there is no good checkpoint yet",
    );
    assert!(!folder.path("new/model").exists());
    folder.ok(&format!("{stage} --resume --set run.steps=4"));
}

#[test]
fn damaged_latents_are_refused_and_encoded_again() {
    let folder = Folder::new();
    folder.ok(&format!("{} --set run.steps=1", vae()));
    let latents = format!("latents {} {SMALL_LATENTS}", config("latents"));
    folder.ok(&latents);
    let diffusion = format!(
        "diffusion {} {SMALL_DIFFUSION} --set run.steps=1 --set run.out=run",
        config("diffusion")
    );
    let [first, second] =
        [0, 1].map(|shard| folder.path(&format!("latents/shard-{shard:05}-of-00002.safetensors")));
    let whole = [&first, &second].map(|path| fs::read(path).expect("a shard"));
    let is_whole = || [&first, &second].map(|path| fs::read(path).expect("a shard")) == whole;
    let faults: [&dyn Fn(); 4] = [
        &|| flip(&first),
        &|| fs::write(&second, "").expect("written"),
        &|| {
            fs::write(&first, &whole[1]).expect("written");
            fs::write(&second, &whole[0]).expect("written");
        },
        &|| fs::write(&second, &whole[1][..whole[1].len() - 1]).expect("written"),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        fault();
        folder.fails(&diffusion, "is not as it was written");
        let text = folder.says(&format!("{latents} --resume"));
        assert!(text.contains("encoded again"), "{number}: {text}");
        assert!(is_whole(), "fault {number}");
    }
    flip(&folder.path("latents/index.json"));
    folder.fails(&diffusion, "index.json");
    folder.fails(&format!("{latents} --resume"), "index.json");
    flip(&folder.path("latents/index.json"));

    // Without the index, nobody knows what the shards were made of.
    for name in ["index.json", "index.json.checksum"] {
        fs::rename(folder.path(&format!("latents/{name}")), folder.path(name)).expect("moved");
    }
    folder.fails(&format!("{latents} --resume"), "but not the index.json");
    for name in ["index.json", "index.json.checksum"] {
        fs::rename(folder.path(name), folder.path(&format!("latents/{name}"))).expect("moved");
    }

    // Another VAE than the latents were made with.
    folder.ok(&format!("{} --set run.out=other --set run.steps=2", vae()));
    folder.fails(
        &format!("{diffusion} --set vae=other/model"),
        "is not the VAE that the latents were made with",
    );
    // Neither does a run change to it, though its latents go with it.
    let run = format!("{diffusion} --set run.out=kept");
    folder.ok(&run);
    folder.ok(&format!("{latents} --set vae=other/model --set out=others"));
    folder.fails(
        &format!(
            "{run} --resume --set run.steps=2 --set vae=other/model --set data.latents=others"
        ),
        "its latents are of another VAE",
    );
    // One of their files, which is whole, has its own checksum and the right name.
    for suffix in ["", ".checksum"] {
        let name = format!("shard-00001-of-00002.safetensors{suffix}");
        let [from, to] = ["others", "latents"].map(|out| folder.path(&format!("{out}/{name}")));
        fs::copy(from, to).expect("copied");
    }
    folder.fails(
        &diffusion,
        "it is of other clips, or was made with another VAE",
    );
    let text = folder.says(&format!("{latents} --resume"));
    assert!(text.contains("encoded again") && is_whole(), "{text}");
    // Files may move.
    fs::rename(folder.path("vae/model"), folder.path("moved")).expect("moved");
    folder.ok(&format!("{run} --resume --set run.steps=2 --set vae=moved"));
    fs::rename(folder.path("moved"), folder.path("vae/model")).expect("moved");
    // A shard that has lost its checksum is none of an older version.
    for file in ["shard-00001-of-00002.safetensors", "index.json"] {
        let sum = folder.path(&format!("latents/{file}.checksum"));
        let whole = fs::read(&sum).expect("a checksum");
        fs::remove_file(&sum).expect("removed");
        folder.fails(
            &diffusion,
            &format!("{file}.checksum, which was written with it"),
        );
        if file == "index.json" {
            fs::write(&sum, whole).expect("written");
        } else {
            let text = folder.says(&format!("{latents} --resume"));
            assert!(text.contains("encoded again") && sum.exists(), "{text}");
        }
    }
    // And a damaged one.
    for file in ["vae.safetensors", "config.toml"] {
        let path = folder.path(&format!("vae/model/{file}"));
        flip(&path);
        folder.fails(&diffusion, file);
        folder.fails(&format!("{latents} --set out=new"), file);
        flip(&path);
    }
    folder.ok(&diffusion);
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let folder = Folder::new();
    let mut first = folder.start(&format!("{} --set run.steps=1000000", vae()));
    let metrics = folder.path("vae/metrics.jsonl");
    while !metrics.exists() {
        assert!(first.try_wait().expect("a status").is_none());
        sleep(Duration::from_millis(5));
    }
    let second = format!("{} --set run.steps=1", vae());
    let holder = format!("process {} on ", first.id());
    folder.fails(&second, &holder);
    folder.fails(&format!("{second} --resume"), &holder);
    first.kill().expect("killed");
    first.wait().expect("its status");
    folder.ok(&format!("{second} --resume"));
}

#[test]
fn a_model_is_replaced_as_a_whole_or_not_at_all() {
    let folder = Folder::new();
    let stage = vae();
    folder.ok(&format!("{stage} --set run.steps=1"));
    folder.fails(
        "export --model vae/model --out vae/model --half",
        "would replace",
    );
    folder.fails("export --model vae/model --out vae", "would replace");
    fs::create_dir(folder.path("other")).expect("a folder");
    fs::write(folder.path("other/thesis.tex"), "mine").expect("a file");
    folder.fails("export --model vae/model --out other", "thesis.tex");
    folder.fails(
        "export --model vae/model --out other --overwrite",
        "thesis.tex",
    );
    folder.ok("export --model vae/model --out new/model");
    let export = "export --model vae/model --out new/model --half";
    let import = "import --config new/model/config.toml --vae vae/model/vae.safetensors";
    let before = folder.read("new/model/vae.safetensors");
    for command in [export, &format!("{import} --out new/model")] {
        let command = command.replace("--config new/model", "--config vae/model");
        folder.fails(
            &command,
            "--out new/model holds a model already: write to another folder, or replace it with \
             --overwrite",
        );
    }
    assert!(folder.read("new/model/vae.safetensors") == before);
    // A failed import replaces nothing.
    fs::write(folder.path("cut.safetensors"), &before[..before.len() / 2]).expect("a file");
    folder.fails(
        "import --vae cut.safetensors --out new/model --overwrite",
        "cut short",
    );
    assert!(folder.read("new/model/vae.safetensors") == before);
    folder.ok(&format!("{export} --overwrite"));
    assert!(folder.read("new/model/vae.safetensors").len() < before.len());
    // Neither does an export of weights that have exploded, whose checksums are right.
    let mut exploded = before.clone();
    let last = exploded.len() - 4;
    exploded[last..].copy_from_slice(&8e29_f32.to_le_bytes());
    fs::create_dir(folder.path("broken")).expect("a folder");
    fs::write(folder.path("broken/vae.safetensors"), &exploded).expect("a file");
    fs::write(
        folder.path("broken/config.toml"),
        folder.read("vae/model/config.toml"),
    )
    .expect("a file");
    let what = "holds 8e29, which is beyond 65504";
    folder.fails("export --model broken --out other", "thesis.tex");
    folder.fails("export --model broken --out exported", what);
    folder.fails(
        "import --vae broken/vae.safetensors --config vae/model/config.toml --out exported",
        what,
    );
    folder.fails(
        &format!(
            "latents {} {SMALL_LATENTS} --set vae=broken --set out=exported",
            config("latents")
        ),
        what,
    );
    fs::create_dir(folder.path("empty")).expect("a folder");
    folder.ok(&format!(
        "{} --out empty",
        import.replace("--config new", "--config vae")
    ));
    let names = |name: &str| {
        let entries = fs::read_dir(folder.path(name)).expect("a list");
        let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("new"), ["model"]);
    assert_eq!(
        names("new/model"),
        ["checksums.txt", "config.toml", "vae.safetensors"]
    );
    // The model that a run starts from is not the one that it writes.
    fs::remove_dir_all(folder.path("vae/checkpoints")).expect("removed");
    folder.fails(
        &format!("{stage} --set start_from=vae/model --set run.steps=2"),
        "would replace",
    );
}

#[test]
fn files_that_are_no_weights_are_called_what_they_are() {
    let folder = Folder::new();
    folder.ok(&format!("{} --set run.steps=1", vae()));
    let whole = folder.read("vae/model/vae.safetensors");
    let archive = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let empty = b"\x02\0\0\0\0\0\0\0{}";
    for (name, bytes, what) in [
        (
            "empty.safetensors",
            &b""[..],
            "it is empty: download or copy it again",
        ),
        ("notes.txt", b"a line\n", "it is text"),
        ("page.bin", b"<!DOCTYPE html>", "it is a web page"),
        (
            "frame.png",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "it is a picture (PNG)",
        ),
        (
            "pointer.bin",
            b"version https://git-lfs.github.com/spec/v1",
            "git lfs pull",
        ),
        (
            "archive.zip",
            archive,
            "archive.zip: not a readable PyTorch file",
        ),
        ("none.safetensors", empty, "none.safetensors: not an AR-VAE"),
        (
            "cut.safetensors",
            &whole[..whole.len() / 2],
            "it is cut short: it has",
        ),
        (
            "head.safetensors",
            &whole[..100],
            "it is cut short in its header",
        ),
        (
            "byte.safetensors",
            &whole[..8],
            "it is cut short: it has 8 bytes",
        ),
        ("folder", b"", "folder: "),
    ] {
        if name == "folder" {
            fs::create_dir(folder.path(name)).expect("a folder");
        } else {
            fs::write(folder.path(name), bytes).expect("a file");
        }
        folder.fails_in_one_line(&format!("import --vae {name} --out model"), what);
        let start = format!("{} --set start_from={name} --set run.out=none", vae());
        folder.fails_in_one_line(&start, what);
        assert!(!folder.path("model").exists(), "{name}");
    }
}

#[test]
fn a_resumed_run_measures_what_the_killed_one_did_not() {
    let folder = Folder::new();
    let stage = format!(
        "{} --set run.steps=4 --set run.eval_every=2 --set run.sample_every=2 \
         --set run.checkpoint_every=2",
        vae()
    );
    folder.ok(&stage);
    let text = |name: &str| String::from_utf8(folder.read(name)).expect("text");
    // As after the process is killed right after the checkpoint.
    let metrics = text("vae/metrics.jsonl");
    let lines = metrics.lines();
    let kept: Vec<&str> = lines
        .filter(|line| !(line.contains("\"step\":4") && line.contains("validation")))
        .collect();
    assert_eq!(metrics.lines().count(), kept.len() + 2, "{metrics}");
    fs::write(folder.path("vae/metrics.jsonl"), kept.join("\n") + "\n").expect("written");
    let samples = fs::read_dir(folder.path("vae/samples")).expect("samples");
    let last = samples.map(|e| e.expect("an entry").path());
    let last: Vec<_> = last
        .filter(|path| path.to_string_lossy().contains("00000004"))
        .collect();
    assert_eq!(last.len(), 1);
    let sample = fs::read(&last[0]).expect("a sample");
    fs::remove_file(&last[0]).expect("removed");

    folder.ok(&format!("{stage} --resume"));
    assert_eq!(text("vae/metrics.jsonl"), metrics);
    assert!(fs::read(&last[0]).expect("a sample") == sample);
    // Existing files are not made again.
    folder.ok(&format!("{stage} --resume"));
    assert_eq!(text("vae/metrics.jsonl"), metrics);
}

/// Names can contain characters that move the cursor or break the line.
#[cfg(unix)]
#[test]
fn names_of_files_are_escaped() {
    let folder = Folder::new();
    let name = "a\n\u{1b}[2Jb";
    fs::create_dir(folder.path(name)).expect("a folder");
    fs::write(folder.path(&format!("{name}/{name}.gif")), "GIF89a").expect("a file");
    fs::write(folder.path(&format!("{name}.toml")), "[run]\nsteps = \n").expect("a file");
    for arguments in [
        &["vae", "--config", &format!("{name}.toml")][..],
        &["vae", "--config", &format!("{name}.none")],
        &[
            "vae",
            "--config",
            "v.toml",
            "--set",
            &format!("run.out={name}.toml"),
        ],
        &[
            "vae",
            "--config",
            "v.toml",
            "--set",
            &format!("data.path={name}"),
        ],
        &["export", "--model", name, "--out", "new"],
        &["import", "--vae", name, "--out", "new"],
        &["init", "--preset", "shapes-vae", "--out", name],
    ] {
        fs::write(
            folder.path("v.toml"),
            "[vae]\nkind = \"conv\"\n[data]\npath = '.'\n[data.videos]\nsize = 32\nframes = 2\n",
        )
        .expect("a file");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ar-train"))
            .current_dir(folder.0.path())
            .args(arguments)
            .output()
            .expect("the command starts");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        let line = error.strip_suffix('\n').expect("a line");
        assert!(
            !line.chars().any(char::is_control),
            "{arguments:?}: {line:?}"
        );
        assert!(line.contains("a\\n\\u{1b}[2Jb"), "{arguments:?}: {line:?}");
    }
}

#[test]
fn absurd_configurations_are_one_line() {
    let folder = Folder::new();
    folder.ok(&format!("{} --set run.steps=1", vae()));
    fs::write(folder.path("large.toml"), vec![b'#'; 17 << 20]).expect("written");
    folder.fails(
        "vae --config large.toml",
        "large.toml: it has more than 16 MiB",
    );
    #[cfg(unix)]
    {
        folder.fails("vae --config /dev/zero", "/dev/zero: this is a device");
        let made = std::process::Command::new("mkfifo")
            .arg(folder.path("pipe"))
            .status();
        assert!(made.expect("mkfifo").success());
        folder.fails("vae --config pipe", "nothing is written to it");
        for place in ["/dev/zero", "pipe"] {
            for arguments in [
                "export --out new --model",
                "latents --config l.toml --set vae=",
            ] {
                fs::write(
                    folder.path("l.toml"),
                    "out = 'new'\n[data]\n[data.shapes]\n",
                )
                .expect("written");
                let space = if arguments.ends_with('=') { "" } else { " " };
                folder.fails(&format!("{arguments}{space}{place}"), "a model is a folder");
            }
            folder.fails(
                &format!("import --out new --vae {place}"),
                "a pipe or a device, not a file",
            );
        }
    }
    for (text, what) in [
        ("[run]\nout = '~root/r'\n", "./~root"),
        ("[run]\nsteps = \n", "TOML parse error at line 2"),
        ("[run]\nstepz = 3\n", "unknown field `stepz`"),
        ("[run]\nsteps = 'many'\n", "line 2"),
        ("a = [\n\"x\n\"", "TOML parse error at line 3"),
    ] {
        fs::write(folder.path("bad.toml"), text).expect("written");
        folder.fails("vae --config bad.toml", what);
    }
    folder.fails(&format!("{} --set run.out=~root/r", vae()), "./~root");
    folder.fails(&format!("{} --set run=3", vae()), "--set run=3");
    // A pipe is a file like any other.
    #[cfg(unix)]
    {
        let output = std::process::Command::new("bash")
            .args(["-c", "$AR vae --config <(echo run.steps=7)"])
            .current_dir(folder.0.path())
            .env("AR", env!("CARGO_BIN_EXE_ar-train"))
            .output()
            .expect("a shell");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("[data] must have exactly one of"), "{error}");
    }
}
