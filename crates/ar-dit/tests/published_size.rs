use ar_dit::DitConfig;
use burn::module::Module;
use burn::tensor::Device;

#[test]
fn the_published_size_has_672_million_parameters() {
    // Parameters are initialised on first use, so counting them allocates nothing.
    let dit = DitConfig::published()
        .init(&Device::flex())
        .expect("a valid configuration");
    let millions = dit.num_params() as f64 / 1e6;
    assert_eq!(format!("{millions:.1}"), "671.9");
}
