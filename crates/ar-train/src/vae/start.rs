//! What a VAE stage starts from, and which of its parameters train.

use std::path::Path;

use ar_model::{ModelConfig, ModelError, NetworkKind, VAE_KEYS};
use ar_vae::{Vae, VaeConfig};
use ar_weights::{Checkpoint, file_shapes, load_checkpoint};
use burn::module::{Module, ParamGroup};
use burn::tensor::Device;

use super::tokenizer::{Difference, adapt};
use crate::checkpoint::{load_average, read_config};
use crate::config::{VaeRun, VaeStage};
use crate::error::{BoxError, ConfigError, ensure_config};
use crate::start_from::{Part, Source, VAE_INSIDE, cannot_start, differences, outcome};

/// Part of the paths of all parameters in temporal blocks, and of no others.
const TEMPORAL: &str = "temporal";

/// VGG16 halves the resolution four times.
const SMALLEST_OF_LPIPS: usize = 16;

/// Checks that the parts of a configuration fit together.
///
/// # Errors
/// Names what does not fit.
pub(super) fn validate(config: &VaeRun) -> Result<(), ConfigError> {
    config
        .vae
        .validate()
        .map_err(|error| ConfigError::from(ModelError::from(error)))?;
    config.optimizer.validate("optimizer")?;
    config.loss.validate()?;
    if config.loss.lpips > 0.0 {
        ensure_config!(
            config.vae.image_size() >= SMALLEST_OF_LPIPS,
            ["vae.image_size", "loss.lpips"],
            "vae.image_size = {}, but LPIPS needs frames of at least {SMALLEST_OF_LPIPS} pixels \
             a side: set loss.lpips = 0",
            config.vae.image_size()
        );
    }
    if let Some(discriminator) = &config.discriminator {
        discriminator.validate(config.vae.image_size())?;
    }
    if config.stage == VaeStage::Image {
        return Ok(());
    }
    ensure_config!(
        matches!(config.vae, VaeConfig::Transformer(_)),
        ["stage", "vae.kind"],
        "stage = \"temporal\" needs vae.kind = \"transformer\": the convolutional tokenizer has no \
         temporal blocks"
    );
    ensure_config!(
        config.vae.is_temporal(),
        ["stage", "vae.temporal"],
        "stage = \"temporal\" needs vae.temporal = true"
    );
    ensure_config!(
        config.discriminator.is_none(),
        ["stage", "discriminator"],
        "stage = \"temporal\" trains without a discriminator: remove [discriminator]"
    );
    ensure_config!(
        config.start_from.is_some(),
        ["stage"],
        "stage = \"temporal\" needs start_from, the model directory of an image stage, such as \
         runs/NAME/model"
    );
    Ok(())
}

/// The network that the stage starts with: only parameters that train have gradients.
///
/// # Errors
/// If the configuration is invalid.
pub(super) fn network(config: &VaeRun, device: &Device) -> Result<Vae, ConfigError> {
    let vae = config.vae.init(device).map_err(ModelError::from)?;
    Ok(match config.stage {
        VaeStage::Image => vae,
        VaeStage::Temporal => vae
            .no_grad()
            .set_require_grad_group(ParamGroup::from_predicate(TEMPORAL), true),
    })
}

/// Loads the weights at `path` into `vae`, and returns a description of what was taken over.
///
/// # Errors
/// If they cannot be read, or are another network's.
pub(super) fn start(vae: &mut Vae, config: &VaeRun, path: &Path) -> Result<String, ConfigError> {
    load(vae, &config.vae, path).map_err(cannot_start(path))
}

fn load(vae: &mut Vae, expected: &VaeConfig, path: &Path) -> Result<String, BoxError> {
    let average = |folder: &Path| average(folder, &vae.devices()[0]);
    let Source { config, weights } = Source::open(path, Part::Vae, average)?;
    let Some(config) = config else {
        return load_matching(vae, weights);
    };
    let mut found = config.vae.ok_or("the model has no VAE")?;
    if let (VaeConfig::Transformer(found), VaeConfig::Transformer(expected)) =
        (&mut found, expected)
    {
        // Temporal blocks that are new start as the identity; those that are left out are listed.
        found.temporal = expected.temporal;
    }
    if found != *expected {
        let differences = differences("vae", &found, expected)?;
        return Err(
            format!("its VAE is not the network that [vae] describes: {differences}").into(),
        );
    }
    load_matching(vae, weights)
}

/// The averaged VAE of the checkpoint in `folder`, as in the model directory of its run.
fn average(folder: &Path, device: &Device) -> Result<Source, BoxError> {
    let run: VaeRun = read_config(folder)?;
    let vae = load_average(&run.vae.init(device)?, folder)?;
    let name = folder.display().to_string();
    Ok(Source {
        weights: Checkpoint::of(&vae, VAE_KEYS, name),
        config: Some(ModelConfig {
            vae: Some(run.vae),
            ..ModelConfig::default()
        }),
    })
}

/// Loads the matching tensors of an AR-VAE, of the image tokenizer that the published ones were started from, or of a
/// VAE in the file of a diffusion model. A convolutional VAE is loaded as a whole.
fn load_matching(vae: &mut Vae, weights: Checkpoint) -> Result<String, BoxError> {
    let inside = weights.below(VAE_INSIDE);
    let is_inside = inside.keys().next().is_some();
    let mut weights = if is_inside { inside } else { weights };
    if NetworkKind::of(&weights) == Some(NetworkKind::ConvVae) {
        if matches!(vae.config(), VaeConfig::Transformer(_)) {
            NetworkKind::Vae.check(&weights, |_| {
                "set vae.kind = \"conv\", with its sizes".into()
            })?;
        }
        load_checkpoint(vae, &weights, VAE_KEYS, |_| false)?;
        return Ok("all weights".into());
    }
    let Difference { not_taken, fresh } = adapt(&mut weights, &file_shapes(vae, VAE_KEYS))?;
    load_checkpoint(vae, &weights, VAE_KEYS, |_| true)?;
    Ok(outcome(
        &with_temporal_counted(not_taken),
        &with_temporal_counted(fresh),
    ))
}

/// The tensors of temporal blocks as one entry: there are hundreds of them.
fn with_temporal_counted(names: Vec<String>) -> Vec<String> {
    let (temporal, mut others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| name.contains(TEMPORAL));
    if !temporal.is_empty() {
        others.insert(
            0,
            format!("the temporal blocks ({} tensors)", temporal.len()),
        );
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;
    use crate::trainer::Trainer;
    use crate::vae::testing::{pixels, small_conv, small_transformer};
    use ar_model::{Precision, VideoModel};
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::Tensor;

    /// Path and bytes of every parameter.
    #[derive(Default)]
    struct Parameters {
        path: Vec<String>,
        found: Vec<(String, Vec<u8>)>,
    }

    impl ModuleVisitor for Parameters {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let bytes = param.val().into_data().bytes().to_vec();
            self.found.push((self.path.join("."), bytes));
        }
    }

    fn parameters(vae: &Vae) -> Vec<(String, Vec<u8>)> {
        let mut parameters = Parameters::default();
        vae.visit(&mut parameters);
        parameters.found
    }

    fn image_model(folder: &Path, vae: VaeConfig) {
        let config = ModelConfig {
            vae: Some(vae),
            ..ModelConfig::default()
        };
        let model = VideoModel::init(config, &Device::flex()).expect("a model");
        model.save(folder, Precision::Full).expect("saved");
    }

    fn temporal_run(folder: &Path) -> VaeRun {
        VaeRun {
            stage: VaeStage::Temporal,
            start_from: Some(folder.to_owned()),
            vae: small_transformer(true),
            ..VaeRun::default()
        }
    }

    #[test]
    fn the_temporal_stage_trains_temporal_blocks_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        image_model(folder.path(), small_transformer(false));
        let device = Device::flex().autodiff();
        let config = temporal_run(folder.path());
        validate(&config).expect("a stage");
        let mut vae = network(&config, &device).expect("a network");
        let taken = start(&mut vae, &config, folder.path()).expect("a start");
        let told = "all weights but these: fresh: the temporal blocks (";
        assert!(taken.starts_with(told), "{taken}");

        // It starts from the reconstructions of the image stage.
        let clip = pixels([1, 3], 16, &device);
        let image = VideoModel::load(folder.path(), &Device::flex()).expect("a model");
        let reconstruct = |vae: &Vae, clip: Tensor<5>| vae.decode(vae.encode(clip).mean());
        let expected = reconstruct(image.vae().expect("a VAE"), clip.clone().inner());
        let start = reconstruct(&vae.valid(), clip.clone().inner());
        let error: f32 = (start - expected).abs().max().into_scalar();
        assert!(error < 1e-5, "{error}");

        let before = parameters(&vae);
        let optimizer = OptimizerConfig {
            weight_decay: 0.1,
            ..OptimizerConfig::default()
        };
        let mut trainer = Trainer::new(vae, &optimizer, 10);
        for _ in 0..3 {
            let output = reconstruct(trainer.model(), clip.clone());
            let loss = (output - clip.clone()).abs().mean();
            trainer.accumulate(loss, 1.0);
            assert!(trainer.update().gradient_norm > 0.0);
        }
        for network in [trainer.model(), &trainer.ema] {
            let mut trained = 0;
            for ((path, before), (_, after)) in before.iter().zip(parameters(network)) {
                let is_temporal = path.contains("temporal_blocks");
                if !is_temporal {
                    assert!(before[..] == after[..], "{path} has changed");
                }
                trained += usize::from(before[..] != after[..]);
            }
            // Norms, projections and biases of both kinds of block.
            assert!(trained > 10, "{trained}");
        }
    }

    /// A model directory and its file are taken in the same way.
    #[test]
    fn an_image_stage_starts_from_a_vae_with_temporal_blocks_without_them() {
        let folder = tempfile::tempdir().expect("a folder");
        image_model(folder.path(), small_transformer(true));
        let config = VaeRun {
            vae: small_transformer(false),
            ..VaeRun::default()
        };
        let device = Device::flex();
        let model = VideoModel::load(folder.path(), &device).expect("a model");
        let expected = parameters(model.vae().expect("a VAE"));
        let expected: Vec<_> = expected
            .into_iter()
            .filter(|(path, _)| !path.contains(TEMPORAL))
            .collect();
        for from in [
            folder.path().to_owned(),
            folder.path().join("vae.safetensors"),
        ] {
            let mut vae = network(&config, &device).expect("a network");
            let taken = start(&mut vae, &config, &from).expect("a start");
            let told = "all weights but these: not taken: the temporal blocks (";
            assert!(taken.starts_with(told), "{taken}");
            assert!(parameters(&vae) == expected, "{}", from.display());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |change: fn(&mut VaeRun)| {
            let mut config = temporal_run(folder.path());
            change(&mut config);
            validate(&config).expect_err("a refusal").to_string()
        };
        for (message, what) in [
            (refused(|config| config.vae = small_conv()), "convolutional"),
            (
                refused(|config| config.vae = small_transformer(false)),
                "vae.temporal = true",
            ),
            (
                refused(|config| config.discriminator = Some(Default::default())),
                "discriminator",
            ),
            (refused(|config| config.start_from = None), "start_from"),
        ] {
            assert!(message.contains(what), "{message}");
        }
        image_model(folder.path(), small_conv());
        let config = temporal_run(folder.path());
        let mut vae = network(&config, &Device::flex()).expect("a network");
        let mut refused = |path: &Path| {
            let error = start(&mut vae, &config, path).expect_err("another network");
            let cause = std::error::Error::source(&error).expect("a cause");
            cause.to_string()
        };
        let error = refused(folder.path());
        assert!(error.contains("is not the network"), "{error}");
        let error = refused(&folder.path().join("vae.safetensors"));
        let expected = "vae.safetensors: not an AR-VAE: there is no tensor encoder.patch_embed.weight; this \
                        is a convolutional VAE: set vae.kind = \"conv\", with its sizes";
        assert!(error.ends_with(expected), "{error}");
    }
}
