//! Damaged files of weights: the body of the fuzz target, with files that proptest damages.

mod bodies;

use std::env;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use safetensors::tensor::{Dtype, TensorView};

/// The same cases every time; with `AR_FUZZ_TIMES` set, that many times as many, and different
/// ones.
fn config(cases: u32) -> ProptestConfig {
    let times = env::var("AR_FUZZ_TIMES").ok();
    let times: Option<u32> = times.map(|times| times.parse().expect("AR_FUZZ_TIMES is a number"));
    ProptestConfig {
        failure_persistence: None,
        rng_seed: match times {
            Some(_) => RngSeed::Random,
            None => RngSeed::Fixed(0),
        },
        ..ProptestConfig::with_cases(cases * times.unwrap_or(1))
    }
}

/// A layer as safetensors and as PyTorch writes it.
fn files() -> Vec<Vec<u8>> {
    let floats = |count: u8| {
        (0..count)
            .flat_map(|n| f32::from(n).to_le_bytes())
            .collect()
    };
    let [weight, bias]: [Vec<u8>; 2] = [floats(6), floats(2)];
    let view = |shape, bytes| TensorView::new(Dtype::F32, shape, bytes).expect("a tensor");
    let tensors = [
        ("weight", view(vec![2, 3], &weight)),
        ("bias", view(vec![2], &bias)),
    ];
    let mut files = vec![safetensors::serialize(tensors, None).expect("a file")];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    for name in ["plain.pt", "legacy.pt", "half.pt", "checkpoint.pt"] {
        files.push(std::fs::read(folder.join(name)).expect(name));
    }
    files
}

#[test]
fn damaged_weights() {
    let damage = (
        prop::sample::select(files()),
        prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        prop::option::weighted(0.2, any::<Index>()),
    );
    proptest!(config(150), |((mut bytes, changes, end) in damage)| {
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        bodies::weights(&bytes);
    });
}
