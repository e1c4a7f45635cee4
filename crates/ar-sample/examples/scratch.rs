use ar_model::{ModelConfig, Precision, VideoModel};
fn main() {
    let device = ar_device::open("cpu").unwrap();
    let config: ModelConfig = r#"
name = "placeholder"
[sampling]
steps = 20
ar_step = 2
[transformer]
num_frames = 16
tokens_per_frame = 16
in_channels = 4
hidden_size = 32
depth = 2
num_heads = 2
causal_mask = "temporal_causal"
context_tokens = 4
context_dim = 16
[vae]
image_size = 64
patch_size = 8
width = 32
layers = 1
heads = 2
latent_tokens = 16
latent_channels = 4
codebook_channels = 32
[vae.pixel_decoder]
hidden_channels = 8
channel_multipliers = [1, 1, 2, 2]
res_blocks = 1
z_channels = 8
norm_groups = 4
"#
    .parse()
    .unwrap();
    let model = VideoModel::init(config, &device).unwrap();
    model
        .save(
            std::path::Path::new("crates/ar-sample/model"),
            Precision::Full,
        )
        .unwrap();
}
