//! Models to run commands on.

use std::path::{Path, PathBuf};

use ar_model::{ImportOptions, ModelConfig, Precision, VideoModel};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Int, Tensor};

use super::Folder;

/// Gives every parameter nonzero values, because modulation and final layers start at zero.
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

impl Folder {
    /// A model directory `golden` of a reference checkpoint: window 4, 6 tokens of 4 channels,
    /// causal in time, without a VAE.
    pub(crate) fn golden_model(&self) {
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
        let options = ImportOptions {
            transformer: Some(golden("model.safetensors")),
            config: Some(config),
            ..ImportOptions::default()
        };
        ar_model::import(&options, self.path("golden")).expect("a fitting checkpoint");
    }

    /// A model directory `tiny` with random weights: causal and unbounded, with frames of 16x16.
    pub(crate) fn tiny_model(&self) {
        self.random_model("tiny", "", "");
    }

    /// A model directory with random weights and a transformer that sees 4 frames, with more keys
    /// for its parts.
    pub(crate) fn random_model(&self, name: &str, transformer: &str, vae: &str) {
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
            .save(self.path(name), Precision::Full)
            .expect("a model directory");
    }
}

/// A file of the reference implementation's numbers for the model `golden`.
pub(crate) fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/dit_temporal_causal_x0")
        .join(file)
}
