//! Mistakes of users: each gives an error of one line, and nothing is lost.

use super::Folder;

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
        (
            "evaluate --samples 18446744073709551615 --out new",
            "--samples is 18446744073709551615, and can be at most",
        ),
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
        (
            "--out a.gif --denoising ./a.gif",
            "--out and --denoising are both ./a.gif",
        ),
        (
            "--denoising sample.mp4",
            "--out and --denoising are both sample.mp4",
        ),
        (
            "--out a.gif --save-latents a.gif",
            "--out and --save-latents are both a.gif",
        ),
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
        ("--out - --format apng", "not apng"),
        ("--out - --format png", "not png"),
        ("--prefix nowhere.mp4", "nowhere.mp4: no such file"),
        ("--prefix file", "file: "),
        (
            "--model golden --save-latents l --prefix file",
            "no VAE to encode",
        ),
    ] {
        folder.fails(arguments, what);
    }
    // Errors from clap have more lines, with the usage.
    assert_eq!(folder.run("--count 0").status.code(), Some(2));
    assert_eq!(folder.run("--frame 3").status.code(), Some(2));
}

/// Also by the parser of the command line, whose messages have several lines.
#[test]
fn arguments_do_not_command_a_terminal() {
    let folder = Folder::new();
    for argument in [
        "--frames=\u{1b}[31m\nx",
        "--\u{1b}[31m\nx",
        "\u{1b}[31m\nx",
        "--class=\u{1b}[31m\nx",
        "--format=\u{1b}[31m\nx",
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ar-sample"))
            .current_dir(folder.path(""))
            .arg(argument)
            .output()
            .expect("the command starts");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{argument:?}: {error}");
        assert!(error.starts_with("error: "), "{argument:?}: {error}");
        assert!(error.contains("\\u{1b}[31m\\nx"), "{argument:?}: {error}");
        assert!(!error.contains('\u{1b}'), "{argument:?}: {error:?}");
    }
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
    fails("", "`x_T` holds NaN or infinity, in frame 1 of video 1");
    folder.write_tensor("noise.safetensors", "x_0", &[0.5; 72], &[1, 3, 6, 4]);
    fails("", "no tensor `x_T`; the file has x_0");
    for bytes in [&b""[..], b"not a safetensors file"] {
        std::fs::write(folder.path("noise.safetensors"), bytes).expect("a file");
        fails("", "not a readable safetensors file");
    }
    noise(&[3e38; 72], &[1, 3, 6, 4]);
    fails(
        "",
        "`x_T` holds 3e38, which is beyond 65504, in frame 0 of video 0",
    );
}

#[test]
fn bad_models_are_one_line() {
    let folder = Folder::new();
    folder.golden_model();
    let config = folder.path("golden/config.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let arguments = "--model golden --save-latents l.safetensors";

    let damaged = "golden/config.toml: config.toml is not as it was written";
    std::fs::write(&config, text.replace("depth = 3", "depth = 2")).expect("a file");
    folder.fails(arguments, damaged);
    std::fs::write(&config, &text).expect("a file");
    let weights = folder.path("golden/transformer.safetensors");
    let whole = std::fs::read(&weights).expect("weights");
    for byte in [9, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1;
        std::fs::write(&weights, flipped).expect("a file");
        folder.fails(
            arguments,
            "transformer.safetensors is not as it was written",
        );
    }
    std::fs::write(&weights, &whole).expect("a file");

    // A model without checksums is read as it is, with a note.
    std::fs::remove_file(folder.path("golden/checksums.txt")).expect("removed");
    let output = folder.run(arguments);
    let note = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{note}");
    assert!(note.starts_with("golden has no checksums"), "{note}");
    std::fs::remove_file(folder.path("l.safetensors")).expect("removed");

    std::fs::write(&config, format!("shape = 3\n{text}")).expect("a file");
    folder.fails(arguments, "unknown field `shape`");
    std::fs::write(&config, text.replace("depth = 3", "depth = 4")).expect("a file");
    folder.fails(arguments, "missing: diffusion_model.model.blocks.3.");
    for (size, what) in [
        ("hidden_size = 48", "hidden_size = 4611686018427387904"),
        ("hidden_size = 48", "hidden_size = 1048576"),
        ("num_frames = 4", "num_frames = 9223372036854775807"),
        ("mlp_ratio = 4.0", "mlp_ratio = 1e300"),
    ] {
        std::fs::write(&config, text.replace(size, what)).expect("a file");
        folder.fails(arguments, "at most");
    }
    std::fs::write(&config, &text).expect("a file");
    std::fs::write(&weights, &whole[..whole.len() / 2]).expect("a file");
    folder.fails(arguments, "not a readable safetensors file");
    let mut broken = whole.clone();
    let last = broken.len() - 4;
    broken[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&weights, broken).expect("a file");
    folder.fails(arguments, "holds NaN or infinity");
    let mut broken = whole.clone();
    broken[last..].copy_from_slice(&8e29_f32.to_le_bytes());
    std::fs::write(&weights, broken).expect("a file");
    folder.fails(arguments, "holds 8e29, which is beyond 65504");
    std::fs::remove_file(&weights).expect("removed");
    folder.fails(arguments, "transformer.safetensors: No such file");
    for path in [&weights, &config] {
        let _ = std::fs::remove_file(path);
        #[cfg(unix)]
        std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
        #[cfg(unix)]
        folder.fails(arguments, "a pipe or a device, not a file");
    }
}

/// They are finite, and what they make would be clamped to white frames. Weights that a 16-bit float holds are read.
#[test]
fn weights_that_have_exploded_make_no_video() {
    let folder = Folder::new();
    folder.tiny_model();
    folder.ok("--model tiny --steps 2 --ar-step 1 --frames 2 --out a.gif");
    let vae = folder.path("tiny/vae.safetensors");
    let whole = std::fs::read(&vae).expect("weights");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("a length")) as usize;
    std::fs::remove_file(folder.path("tiny/checksums.txt")).expect("removed");
    for (value, start) in [
        (3e38_f32, "error: tiny/vae.safetensors: "),
        (8e29, "error: tiny/vae.safetensors: "),
        (6e4, "error: the VAE's "),
    ] {
        let mut broken = whole.clone();
        for weight in broken[header..].chunks_exact_mut(4) {
            weight.copy_from_slice(&value.to_le_bytes());
        }
        std::fs::write(&vae, broken).expect("written");
        for command in [
            "--steps 2 --ar-step 1 --frames 2 --out b.gif",
            "--steps 2 --ar-step 1 --frames 2 --out b.gif --denoising c.gif",
            "reconstruct a.gif --out b.gif",
            "--steps 2 --ar-step 1 --prefix a.gif --out b.gif",
        ] {
            let before = folder.list();
            let output = folder.run(&format!("{command} --model tiny"));
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{value} {command}: {error}");
            let last = error.lines().last().expect("an error");
            assert!(last.starts_with(start), "{value} {command}: {error}");
            assert!(last.contains("have exploded in training"), "{error}");
            assert_eq!(folder.list(), before, "{value} {command}");
        }
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_no_input() {
    let folder = Folder::new();
    folder.tiny_model();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path("pipe"))
        .status();
    assert!(made.expect("mkfifo").success());
    for place in ["/dev/zero", "/dev/null", "/dev/stdin", "pipe"] {
        for command in ["", "reconstruct a.gif", "evaluate --data shapes"] {
            folder.fails(
                &format!("{command} --model {place} --out new"),
                "a model is a folder",
            );
        }
        folder.fails(&format!("--model tiny --prefix {place}"), place);
        folder.fails(&format!("reconstruct {place} --model tiny"), place);
    }
    std::fs::write(folder.path("data.toml"), super::evaluate::SMALL_WORLD).expect("a file");
    for weights in ["/dev/zero", "pipe"] {
        folder.fails(
            &format!("evaluate --model tiny --data data.toml --weights i3d={weights} --samples 2 --out new"),
            "a pipe or a device, not a file",
        );
    }
    for noise in ["/dev/zero", "pipe"] {
        folder.fails(&format!("--model tiny --noise {noise}"), noise);
    }
}

#[test]
fn an_existing_video_survives_an_error() {
    let folder = Folder::new();
    folder.ok("--frames 2 --steps 2 --ar-step 1 --out a.gif");
    let video = folder.read("a.gif");
    folder.fails("--frames 0 --out a.gif", "frames is 0");
    assert_eq!(folder.read("a.gif"), video);
}
