//! Damaged files of every kind that is read here, and folders of anything: the bodies of the fuzz
//! targets, with inputs from proptest.

mod bodies;

use std::env;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

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

/// `bytes` with some of them replaced, and cut off at the end.
fn damaged(bytes: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let bytes = bytes.to_vec();
    let replaced = prop::collection::vec((any::<Index>(), any::<u8>()), 0..5);
    (replaced, prop::option::weighted(0.2, any::<Index>())).prop_map(move |(replaced, end)| {
        let mut bytes = bytes.clone();
        for (index, value) in replaced {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        bytes
    })
}

#[test]
fn damaged_tables() {
    let table = "path,class\n./a.gif,walk\n\"b\\c.gif\",\"run, fast\"\ngone.gif,walk\n";
    let words = prop::sample::select(vec![
        "a.gif", "b/c.gif", "..", "path", "class", ",", "\"", "\n", "\r\n", "x", "/", "é",
    ]);
    let text = prop::collection::vec(words, 0..24).prop_map(|words| words.concat().into_bytes());
    let headed = text.prop_map(|rows| [b"path,class\n", rows.as_slice()].concat());
    proptest!(config(200), |(bytes in prop_oneof![damaged(table.as_bytes()), headed])| {
        bodies::table(&bytes);
    });
}

#[test]
fn damaged_digits() {
    let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2];
    let plain = [&header[..], &[9; 12]].concat();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &plain).expect("memory");
    let packed = encoder.finish().expect("memory");
    proptest!(config(300), |(bytes in prop_oneof![damaged(&plain), damaged(&packed)])| {
        bodies::idx(&bytes);
    });
}

#[test]
fn damaged_latents() {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1, 2), }      \n";
    let length = (header.len() as u16).to_le_bytes();
    let values = [1_f32, -2.0, 0.5, 3.0].map(f32::to_le_bytes).concat();
    let file = [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), &values].concat();
    proptest!(config(300), |(bytes in damaged(&file))| bodies::npy(&bytes));
}

#[test]
fn folders_of_anything() {
    let name = "([a-c]/){0,3}[a-c.]{0,3}(\\.(gif|png|webp|mp3|tif|xyz))?";
    let files = prop::collection::vec((name, any::<bool>()), 0..8);
    proptest!(config(150), |(files in files)| bodies::tree(&files));
}
