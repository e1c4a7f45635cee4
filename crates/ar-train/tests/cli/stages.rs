use ar_model::{LatentStatistics, ModelConfig, VideoModel};
use ar_pipeline::ModelSource;
use burn::tensor::{Device, Tensor};
use safetensors::SafeTensors;

use super::{Folder, SMALL_DIFFUSION, SMALL_LATENTS, SMALL_VAE, config};

#[test]
fn the_stages_make_a_model_and_resume_exactly() {
    let folder = Folder::new();
    let vae = format!("vae {} {SMALL_VAE} --set run.steps=2", config("vae"));
    folder.ok(&vae);
    folder.fails(&vae, "holds a run already");
    folder.ok(&format!("latents {} {SMALL_LATENTS}", config("latents")));

    let diffusion = format!("diffusion {} {SMALL_DIFFUSION}", config("diffusion"));
    folder.fails(
        &format!("{diffusion} --set data.latents=nowhere --set run.out=none"),
        "--set data.latents=nowhere: data.latents = nowhere: cannot read nowhere: No such file or \
         directory (os error 2)\n",
    );
    folder.ok(&format!(
        "{diffusion} --set run.out=whole --set run.steps=5 --set run.sample_every=5 \
         --set sampling.steps=4 --set sampling.ar_step=1"
    ));
    assert!(folder.path("whole/samples/step-00000005.mp4").is_file());
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

    let model = VideoModel::load(folder.path("whole/model"), &Device::flex()).expect("a model");
    assert_eq!(model.config().name, "shapes");
    let latents = Tensor::ones([1, 3, 4, 4], &Device::flex());
    let pixels = model.decode(latents).expect("a VAE");
    assert_eq!(pixels.dims(), [1, 3, 3, 32, 32]);

    for run in ["vae", "parts"] {
        let text = |name| String::from_utf8(folder.read(&format!("{run}/{name}"))).expect("text");
        assert!(text("curves.svg").contains("validation_loss"), "{run}");
        let last = text("metrics.jsonl");
        let last = last.lines().last().expect("a line");
        assert!(last.contains("\"validation_loss\""), "{run}: {last}");
    }

    folder.ok("export --model whole/model --out half --half");
    let size = |name: &str| {
        folder
            .read(&format!("{name}/transformer.safetensors"))
            .len()
    };
    assert!(size("half") < size("whole/model") * 6 / 10);
    VideoModel::load(folder.path("half"), &Device::flex()).expect("a model");
}

#[test]
fn a_diffusion_stage_starts_from_another_model() {
    let folder = Folder::new();
    folder.ok(&format!(
        "vae {} {SMALL_VAE} --set run.steps=1",
        config("vae")
    ));
    let count = "--set data.shapes.labels=count";
    folder.ok(&format!(
        "latents {} {SMALL_LATENTS} {count}",
        config("latents")
    ));
    let stage = format!("diffusion {} {SMALL_DIFFUSION}", config("diffusion"));
    folder.ok(&format!("{stage} --set run.out=first --set run.steps=3"));

    // No step is taken, so the weights are the ones that it starts from, with planned timesteps
    // too.
    let further = format!(
        "{stage} --set start_from=first/model --set run.out=further --set run.steps=1 \
         --set optimizer.learning_rate=0 --set timestep_sampler=planned --set context_dropout=0"
    );
    folder.ok(&further);
    let [before, after] = ["first", "further"]
        .map(|run| folder.read(&format!("{run}/model/transformer.safetensors")));
    assert!(before == after, "the weights are others");

    // A checkpoint has the same weights as the average; the raw weights differ.
    let checkpoint = "first/checkpoints/step-00000003";
    let from_checkpoint = further
        .replace("first/model", checkpoint)
        .replace("further", "from-checkpoint");
    let said = folder.ok(&from_checkpoint);
    let told = format!("starts from the averaged weights of {checkpoint}: all weights\n");
    assert!(said.contains(&told), "{said}");
    let after = folder.read("from-checkpoint/model/transformer.safetensors");
    assert!(before == after, "the weights are others");
    folder.fails(
        &format!(
            "vae {} {SMALL_VAE} --set start_from={checkpoint} --set run.out=vae-from",
            config("vae")
        ),
        "the run is of the stage diffusion, which has no VAE: name a model or a checkpoint of `ar-train \
         vae`",
    );
    let average = format!("{checkpoint}/average.bpk");
    let mut damaged = folder.read(&average);
    let place = damaged.len() / 2;
    damaged[place] ^= 1;
    std::fs::write(folder.path(&average), damaged).expect("written");
    folder.fails(
        &from_checkpoint.replace("from-", "of-damaged-"),
        "average.bpk",
    );

    // Resuming needs the checkpoint only.
    std::fs::rename(folder.path("first"), folder.path("moved")).expect("moved");
    folder.ok(&format!("{further} --set run.steps=2 --resume"));
    std::fs::rename(folder.path("moved"), folder.path("first")).expect("moved back");

    // With another number of classes, the network is taken over, but not the context vectors.
    let classes = format!("{stage} --set start_from=first/model --set conditioning.classes=3");
    let said = folder.ok(&format!(
        "{classes} --set run.out=classes --set run.steps=1"
    ));
    assert!(
        said.contains("not taken: context_emb [1, 32]; fresh: class_emb [4, 1, 32]"),
        "{said}"
    );

    // From other classes, and from a model that knows the latents of another VAE.
    folder.ok(&format!(
        "vae {} {SMALL_VAE} --set run.steps=1 --set run.seed=1 --set run.out=other-vae",
        config("vae")
    ));
    folder.ok(&format!(
        "latents {} {SMALL_LATENTS} {count} --set data.shapes.max_shapes=2 --set vae=other-vae/model \
         --set out=two-classes",
        config("latents")
    ));
    let two = format!(
        "{stage} --set start_from=classes/model --set vae=other-vae/model --set data.latents=two-classes \
         --set conditioning.classes=2 --set run.out=two --set run.steps=1"
    );
    folder.fails_in_one_line(
        &two,
        "class_emb has shape [4, 1, 32] and should have [3, 1, 32]: set conditioning.classes = 3 to take it, or \
         fresh_classes = true",
    );
    let said = folder.ok(&format!("{two} --set fresh_classes=true"));
    assert!(
        said.contains("not taken: class_emb [4, 1, 32]; fresh: class_emb [3, 1, 32]"),
        "{said}"
    );
    assert!(
        said.contains("note: classes/model knows the latents of another VAE"),
        "{said}"
    );

    // Not as many classes as the latents have names of.
    folder.fails_in_one_line(
        &format!("{stage} --set conditioning.classes=5 --set run.out=none"),
        "the latents have 3 classes, but conditioning.classes = 5: set it to 3, or encode videos of all classes",
    );
    folder.fails(
        &format!(
            "{stage} --set start_from=first/model --set transformer.depth=2 --set run.out=deep"
        ),
        "its transformer is not the network that [transformer] describes: transformer.depth = 1 there and 2 here: \
         change the configuration, as with --set transformer.depth=1, or name another model",
    );
    folder.fails_in_one_line(
        &format!("{stage} --set start_from=first/model --set diffusion.schedule.timesteps=500 --set run.out=none"),
        "diffusion.schedule.timesteps = 1000 there and 500 here",
    );
    // Before training as well.
    for (from, what) in [
        ("nowhere", "there is no such folder"),
        ("nowhere.safetensors", "there is no such file"),
    ] {
        let dry = format!("{stage} --set start_from={from} --set run.out=none --dry-run");
        folder.fails_in_one_line(&dry, what);
    }
    folder.fails_in_one_line(
        &format!(
            "latents {} {SMALL_LATENTS} --set data.shapes.size=64 --set out=other-size",
            config("latents")
        ),
        "the clips are 64x64 and the VAE encodes frames of 32x32: set the size of the data to 32",
    );
    assert!(!folder.path("other-size").exists());
    for (from, what) in [
        ("nowhere", "there is no such folder: name a model directory"),
        (
            "first",
            "first is the folder of a run: name its model, first/model, or a checkpoint, such as \
             first/checkpoints/step-00000003",
        ),
        (
            "first/checkpoints",
            "first/checkpoints is where a run keeps its checkpoints: name its model, first/model, or",
        ),
        (
            "first/checkpoints/step-00000002",
            "first/checkpoints/step-00000002 is not there (run.keep_every keeps checkpoints for good): name \
             its model, first/model, or a checkpoint, such as first/checkpoints/step-00000003",
        ),
        (
            "vae/model",
            "the model has a VAE but no transformer: name a model of `ar-train diffusion`",
        ),
        (
            "vae/checkpoints/step-00000001",
            "the run is of the stage vae, which has no transformer",
        ),
        (
            "vae",
            "the run is of the stage vae, which has no transformer",
        ),
        (
            "vae/model/vae.safetensors",
            "vae/model/vae.safetensors: not a diffusion transformer: there is no tensor \
             diffusion_model.model.x_embedder.weight; this is a convolutional VAE: `ar-train vae` \
             starts from it; give the file of a diffusion model",
        ),
        (
            "first/config.toml",
            "first/config.toml: not a readable safetensors or PyTorch file: it is text",
        ),
        (
            "first/checkpoints/step-00000003/weights.bpk",
            "it is a file of the checkpoint of a run: name the folder that it is in",
        ),
    ] {
        folder.fails_in_one_line(
            &format!("{stage} --set start_from={from} --set run.out=none"),
            what,
        );
    }
    // The other way round, in the other stage.
    std::fs::create_dir(folder.path("transformer")).expect("a folder");
    for file in ["config.toml", "transformer.safetensors"] {
        let from = folder.path("first/model").join(file);
        std::fs::copy(from, folder.path("transformer").join(file)).expect("copied");
    }
    let without_vae = String::from_utf8(folder.read("transformer/config.toml")).expect("text");
    let end = without_vae.find("[vae]").expect("a VAE");
    std::fs::write(folder.path("transformer/config.toml"), &without_vae[..end]).expect("written");
    let vae = format!("vae {} {SMALL_VAE} --set run.steps=1", config("vae"));
    for (from, what) in [
        (
            "transformer",
            "the model has a transformer but no VAE: name a model of `ar-train vae`",
        ),
        (
            "transformer/transformer.safetensors",
            "transformer.safetensors: not an AR-VAE: there is no tensor encoder.patch_embed.weight; this \
             is a diffusion transformer: `ar-train diffusion` starts from it; give the file of its VAE",
        ),
        (
            "vae",
            "vae is the folder of a run: name its model, vae/model, or a checkpoint",
        ),
    ] {
        folder.fails_in_one_line(
            &format!("{vae} --set start_from={from} --set run.out=none"),
            what,
        );
    }
    let from_file = format!("{vae} --set start_from=vae/model/vae.safetensors");
    let said = folder.ok(&format!("{from_file} --set run.out=vae-of-file"));
    assert!(said.contains("vae.safetensors: all weights\n"), "{said}");
}

#[test]
fn the_model_in_the_box_is_fine_tuned() {
    let folder = Folder::new();
    folder.ok(&format!(
        "latents {} --set vae=built-in --set out=latents --set data.clips=3",
        config("latents")
    ));
    let run = format!(
        "diffusion {} --set data.latents=latents --set data.validation=1 --set run.steps=1 \
         --set run.batch_size=1",
        config("fine-tune")
    );
    let tuned = format!("{run} --set run.out=tuned --set optimizer.learning_rate=0");
    let said = folder.ok(&tuned);
    assert!(said.contains("starts from built-in: all weights"), "{said}");
    let device = Device::flex();
    let before = ModelSource::BuiltIn.load(&device).expect("a model");
    let after = VideoModel::load(folder.path("tuned/model"), &device).expect("a model");
    // The network knows latents at the scale of its own training.
    assert_eq!(
        before.config().latent_statistics,
        after.config().latent_statistics
    );
    let weights = |model: &VideoModel, name: &str| {
        let out = folder.path(name);
        model.save(&out, ar_model::Precision::Full).expect("saved");
        folder.read(&format!("{name}/transformer.safetensors"))
    };
    assert!(weights(&before, "before") == weights(&after, "after"));

    // A file of weights works as well as a folder.
    let from_file = format!("{run} --set start_from=before/transformer.safetensors");
    folder.ok(&format!("{from_file} --set run.out=file"));
    folder.fails_in_one_line(
        &format!("{from_file} --set run.out=none --set transformer.hidden_size=64"),
        "x_embedder.weight has shape [128, 16] and should have [64, 16]: set transformer.hidden_size = 128",
    );
    folder.fails(
        &format!("{from_file} --set run.out=none --set transformer.depth=5"),
        "not part of the network: diffusion_model.model.blocks.5.",
    );
    folder.fails(
        &format!("{run} --set run.out=eps --set diffusion.parameterization=eps"),
        "predicts \"v\" and diffusion.parameterization = \"eps\"",
    );
}

#[test]
fn a_run_keeps_the_statistics_of_the_latents_that_it_began_with() {
    let folder = Folder::new();
    folder.ok(&format!(
        "vae {} {SMALL_VAE} --set run.steps=1",
        config("vae")
    ));
    let latents = format!("latents {} {SMALL_LATENTS}", config("latents"));
    folder.ok(&latents);
    folder.ok(&format!(
        "{latents} --set out=others --set data.first_seed=7 --set data.clips=9"
    ));

    let diffusion = format!(
        "diffusion {} {SMALL_DIFFUSION} --set latent_scale=channel",
        config("diffusion")
    );
    let statistics = |arguments: &str| -> LatentStatistics {
        folder.ok(&format!("{diffusion} {arguments}"));
        let text = String::from_utf8(folder.read("run/model/config.toml")).expect("text");
        let config: ModelConfig = text.parse().expect("a configuration");
        config.latent_statistics.expect("statistics")
    };
    let first = statistics("--set run.out=run --set run.steps=1");
    let others = "--set run.out=run --set data.latents=others --resume";
    let resumed = statistics(&format!("{others} --set run.steps=2"));
    assert_eq!(resumed, first);
    // Like a checkpoint of an older version: the statistics are computed from the current latents.
    let kept = "run/checkpoints/step-00000002/latent_statistics.toml";
    std::fs::remove_file(folder.path(kept)).expect("they were kept");
    folder.make_old("run/checkpoints/step-00000002");
    let estimated = statistics(&format!("{others} --set run.steps=3"));
    assert_ne!(estimated, first);
}

#[test]
fn a_resumed_run_says_what_changed_and_keeps_what_it_is() {
    let folder = Folder::new();
    let vae = format!("vae {} {SMALL_VAE}", config("vae"));
    let first = folder.run(&format!("{vae} --set run.steps=1 --resume"));
    let output = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(first.status.success(), "{output}");
    assert!(
        output.contains("no checkpoint in vae: starting at step 0"),
        "{output}"
    );
    folder.fails(
        &format!("{vae} --set run.steps=2 --set vae.channels=[8,16] --resume"),
        "vae.channels was [8, 8] and is [8, 16]",
    );
    let resumed = folder.run(&format!(
        "{vae} --set run.steps=2 --set optimizer.learning_rate=0.5 --resume"
    ));
    let output = String::from_utf8_lossy(&resumed.stderr).into_owned();
    assert!(resumed.status.success(), "{output}");
    assert!(!output.contains("no checkpoint"), "{output}");
    for change in [
        "changed since then: optimizer.learning_rate was 0.002 and is 0.5",
        "changed since then: run.steps was 1 and is 2",
    ] {
        assert!(output.contains(change), "{output}");
    }
}

#[test]
fn the_temporal_stage_and_samples() {
    let folder = Folder::new();
    let transformer = "--set vae.kind=transformer --set vae.image_size=16 \
        --set vae.patch_size=4 --set vae.width=16 --set vae.layers=1 --set vae.heads=2 \
        --set vae.latent_tokens=4 --set vae.latent_channels=4 --set vae.codebook_channels=16 \
        --set vae.pixel_decoder.hidden_channels=8 \
        --set vae.pixel_decoder.channel_multipliers=[1,1,2] \
        --set vae.pixel_decoder.res_blocks=1 --set vae.pixel_decoder.z_channels=8 \
        --set vae.pixel_decoder.norm_groups=4 --set data.shapes.size=16 --set data.clips=8 \
        --set data.shapes.max_shapes=1 --set data.shapes.min_radius=0.15 --set data.validation=2 --set run.batch_size=2 \
        --set run.steps=2 --set run.sample_every=2";
    std::fs::write(folder.path("vae.toml"), "").expect("an empty configuration");
    let vae = format!("vae --config vae.toml {transformer}");
    folder.ok(&format!(
        "{vae} --set run.out=image --set data.shapes.frames=1 --set discriminator.start_step=1 \
         --set discriminator.filters=4 --set discriminator.layers=2"
    ));
    assert!(folder.path("image/samples/step-00000002.png").is_file());
    let temporal = format!(
        "{vae} --set run.out=clips --set data.shapes.frames=3 --set vae.temporal=true \
         --set stage=temporal --set start_from=image/model"
    );
    folder.ok(&temporal);
    assert!(folder.path("clips/samples/step-00000002.mp4").is_file());
    let [image, before] =
        ["image", "clips"].map(|run| folder.read(&format!("{run}/model/vae.safetensors")));
    folder.ok(&format!("{temporal} --set run.steps=4 --resume"));
    let after = folder.read("clips/model/vae.safetensors");
    let [image, before, after] =
        [&image, &before, &after].map(|file| SafeTensors::deserialize(file).expect("tensors"));
    let mut moved = 0;
    for (name, after) in after.iter() {
        if name.contains("temporal") {
            let before = before.tensor(name).expect("the same network");
            moved += usize::from(after.data() != before.data());
        } else {
            let image = image.tensor(name).expect("the image stage's");
            assert!(after.data() == image.data(), "{name} has changed");
        }
    }
    // Norms, projections and biases of both kinds of block.
    assert!(moved > 10, "{moved}");
    let model = VideoModel::load(folder.path("clips/model"), &Device::flex()).expect("a model");
    assert!(
        model
            .config()
            .vae
            .as_ref()
            .is_some_and(|vae| vae.is_temporal())
    );
    folder.fails(
        &format!("{vae} --set run.out=none --set stage=temporal --set data.shapes.frames=3"),
        "vae.temporal = true",
    );

    // From a checkpoint, with the weights of the model that it became.
    let said = folder.ok(&format!(
        "{vae} --set data.shapes.frames=1 --set start_from=image/checkpoints/step-00000002 \
         --set optimizer.learning_rate=0 --set run.steps=1 --set run.out=checkpoint"
    ));
    assert!(said.contains("the averaged weights of image/"), "{said}");
    let taken = folder.read("checkpoint/model/vae.safetensors");
    assert!(taken == folder.read("image/model/vae.safetensors"));

    // From the file of another VAE, as far as it fits: here with fewer latent tokens.
    let further = format!(
        "{vae} --set data.shapes.frames=1 --set start_from=image/model/vae.safetensors \
         --set optimizer.learning_rate=0 --set run.steps=1"
    );
    let said = folder.ok(&format!(
        "{further} --set run.out=tokens --set vae.latent_tokens=2"
    ));
    assert!(said.contains("vae.safetensors: all weights\n"), "{said}");
    let tokens = folder.read("tokens/model/vae.safetensors");
    let tokens = SafeTensors::deserialize(&tokens).expect("tensors");
    let [start, whole] = [&tokens, &image].map(|file| {
        let tensor = file.tensor("latent_tokens").expect("tokens");
        tensor.data().to_vec()
    });
    assert_eq!(start[..], whole[..whole.len() / 2]);
    folder.fails(
        &format!("{further} --set run.out=wide --set vae.width=32"),
        "encoder.patch_embed.weight has shape [16, 3, 4, 4] and should have [32, 3, 4, 4]",
    );
}

#[test]
fn a_preset_becomes_a_file_and_no_other() {
    let folder = Folder::new();
    let list = String::from_utf8(folder.run("presets").stdout).expect("text");
    assert!(
        list.lines().any(|line| line.starts_with("shapes-vae")),
        "{list}"
    );
    folder.ok("init --preset shapes-vae");
    folder.fails("init --preset shapes-vae", "exists already");
    folder.fails("init --preset shape", "no preset 'shape'");
    folder.ok(&format!(
        "vae --config shapes-vae.toml {SMALL_VAE} --set run.steps=1"
    ));
}

#[test]
fn errors_name_the_line() {
    let folder = Folder::new();
    let write = |text: &str| std::fs::write(folder.path("a.toml"), text).expect("a file");
    for (stage, text, message) in [
        (
            "vae",
            "[run]\nsteps = 0\n[data.shapes]\nsize = 64\n[vae]\nkind = \"conv\"\n",
            "a.toml, line 2 (run.steps): run.steps is 0",
        ),
        (
            "vae",
            "[vae]\nkind = \"transformer\"\nwidth = 30\nheads = 4\n",
            "a.toml, line 3 (vae.width), a.toml, line 4 (vae.heads): vae: heads = 4",
        ),
        (
            "diffusion",
            "[optimizer]\nepsilon = 0.0\n",
            "a.toml, line 2 (optimizer.epsilon): optimizer.epsilon = 0;",
        ),
        (
            "diffusion",
            "context_dropout = 0.1\n[conditioning]\nclasses = 0\n",
            "a.toml, line 1 (context_dropout), a.toml, line 3 (conditioning.classes): \
             context_dropout = 0.1 and conditioning.classes = 0: an unconditional model",
        ),
        (
            "diffusion",
            "[loss]\nlast_frame_weight = -1.0\n",
            "a.toml, line 2 (loss.last_frame_weight): loss.last_frame_weight = -1;",
        ),
        (
            "diffusion",
            "[sampling]\nfps = 0.0\n",
            "a.toml, line 2 (sampling.fps): sampling.fps = 0; it must be between 0.01 and 1000",
        ),
        (
            "diffusion",
            "\n[transformer]\nhidden_size = 30\n",
            "a.toml, line 3 (transformer.hidden_size): transformer: num_heads = 16",
        ),
        (
            "vae",
            "[data.shapes]\nsize = 64\nframes = 1\n[data]\nvalidation = 4096\n[vae]\nkind = \"conv\"\n",
            "a.toml, line 5 (data.validation): the dataset has 4096 clips",
        ),
        (
            "latents",
            "vae = \"x\"\nout = 3\n",
            "a.toml: TOML parse error at line 2",
        ),
        (
            "latents",
            "out = \"x\"\nvae = \"\"\n",
            "a.toml, line 2 (vae): vae is not given",
        ),
        (
            "latents",
            "out = \"x\"\nvae = \"nowhere\"\n",
            "a.toml, line 2 (vae): vae = nowhere: nowhere: not a model directory",
        ),
        (
            "diffusion",
            "vae = \"nowhere\"\n",
            "a.toml, line 1 (vae): vae = nowhere: nowhere: not a model directory",
        ),
        (
            "vae",
            "[data]\npath = \"nowhere\"\n[data.videos]\nsize = 64\n[vae]\nkind = \"conv\"\n",
            "a.toml, line 2 (data.path): data.path = nowhere: cannot list nowhere: No such file or \
             directory (os error 2)\n",
        ),
        (
            "vae",
            "[data.moving_mnist]\nimages = \"nowhere\"\n[vae]\nkind = \"conv\"\n",
            "a.toml, line 2 (data.moving_mnist.images): data.moving_mnist.images = nowhere: nowhere: \
             No such file or directory (os error 2)\n",
        ),
        (
            "vae",
            "[run]\nout = \"a.toml/x\"\n[data.shapes]\nsize = 64\nframes = 1\n[vae]\nkind = \"conv\"\n",
            "a.toml, line 2 (run.out): run.out = a.toml/x: ",
        ),
        (
            "diffusion",
            "\n[transformer]\nhidden_size = 9000000000000000000\n",
            "a.toml, line 3 (transformer.hidden_size): transformer.depth * transformer.hidden_size * ",
        ),
    ] {
        write(text);
        folder.fails(&format!("{stage} --config a.toml"), message);
    }
    write("[run]\nsteps = 0\n");
    folder.fails(
        "diffusion --config a.toml --set transformer.num_heads=7",
        "--set transformer.num_heads=7: transformer: num_heads = 7",
    );
}

const LPIPS: &str = "--set loss.lpips=1 --set loss.lpips_weights.linear=gone.pth";

#[test]
fn bad_input_is_an_error() {
    let folder = Folder::new();
    let vae = format!("vae {} {SMALL_VAE}", config("vae"));
    for (arguments, what) in [
        ("vae --config nowhere.toml".into(), "nowhere.toml"),
        (format!("{vae} --set run.step=3"), "unknown field `step`"),
        (format!("{vae} --set run.steps"), "KEY=VALUE"),
        (format!("{vae} --set run.steps=0"), "run.steps is 0"),
        (
            format!("{vae} --set discriminator.optimizer.beta_2=1"),
            "--set discriminator.optimizer.beta_2=1: discriminator.optimizer.beta_2 = 1;",
        ),
        (
            format!("{vae} --set loss.kl=-1"),
            "--set loss.kl=-1: loss.kl = -1;",
        ),
        (
            format!("{vae} --set run.batch_size=100000000000000000"),
            "run.batch_size * run.accumulate * data.prefetch is 400000000000000000; it must be at \
             most 1048576",
        ),
        (
            format!("{vae} --set run.batch_size=9000000000000000000 --set run.accumulate=4"),
            "run.batch_size * run.accumulate * data.prefetch is 144000000000000000000;",
        ),
        (
            format!("{vae} --set data.workers=1000000"),
            "--set data.workers=1000000: data.workers is 1000000; it must be at most 1024",
        ),
        (
            format!("{vae} --set discriminator.filters=99999999999999"),
            "--set discriminator.filters=99999999999999: discriminator.filters * ",
        ),
        (format!("{vae} --set vae.patch_size=5"), "a multiple of 10"),
        (
            format!("{vae} --set precision=bf8"),
            "unknown variant `bf8`",
        ),
        (format!("{vae} --set vae.image_size=64"), "32x32"),
        (
            format!("{vae} --set data.validation=20"),
            "data.validation = 20",
        ),
        (format!("{vae} --device tpu"), "device 'tpu'"),
        (
            format!("{vae} --set loss.lpips=1"),
            "loss.lpips = 1 needs [loss.lpips_weights]",
        ),
        (
            format!("{vae} {LPIPS} --set loss.lpips_weights.vgg=gone.pth"),
            "[loss.lpips_weights]: gone.pth",
        ),
        (
            format!("{vae} {LPIPS} --set loss.lpips_weights.vgg=hf://owner"),
            "hf://OWNER/NAME/FILE",
        ),
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

#[test]
fn a_dry_run_says_what_the_run_will_take_and_writes_nothing() {
    let folder = Folder::new();
    let dry = |arguments: &str, expected: &[&str]| {
        let output = folder.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {error}");
        let said = String::from_utf8_lossy(&output.stdout);
        for text in expected {
            assert!(said.contains(text), "{arguments}: {said}");
        }
    };
    let recomputing = [
        "M parameters",
        "activation_checkpointing = false: ",
        "activation_checkpointing = true: ",
        " for 700 steps",
    ];
    let conv = format!("vae {} {SMALL_VAE} --dry-run", config("vae"));
    dry(
        &format!("{conv} --set run.steps=700"),
        &["M parameters", " s a step, "],
    );
    assert!(!folder.path("vae").exists());
    folder.fails(
        &format!("{conv} --set data.shapes.size=24"),
        "the clips are 24x24 and vae.image_size = 32",
    );
    folder.ok(&format!(
        "vae {} {SMALL_VAE} --set run.steps=2",
        config("vae")
    ));
    folder.ok(&format!("latents {} {SMALL_LATENTS}", config("latents")));
    dry(
        &format!(
            "diffusion {} {SMALL_DIFFUSION} --set run.steps=700 --set run.out=whole --dry-run",
            config("diffusion")
        ),
        &recomputing,
    );
    assert!(!folder.path("whole").exists());
}
