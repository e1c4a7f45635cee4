//! Damaged files of every kind that is decoded here: the bodies of the fuzz targets, with files
//! that proptest damages.

use std::env;
use std::fs;

use ar_video::{VideoFormat, write_clip};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use tempfile::tempdir;

use crate::{bodies, noise};

/// A change of a file.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Repeat(Index, u8),
    /// A number of four bytes, like sizes.
    Number(Index, u32),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |index: &Index| index.index(bytes.len().max(1)).min(bytes.len());
        match self {
            Self::Cut(at) => bytes.truncate(place(at)),
            _ if bytes.is_empty() => {}
            Self::Set(at, value) => {
                let at = place(at);
                bytes[at] = *value;
            }
            Self::Flip(at, bit) => {
                let at = place(at);
                bytes[at] ^= 1 << (bit % 8);
            }
            Self::Insert(at, new) => {
                let at = place(at);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(*count));
                bytes.drain(at..end);
            }
            Self::Repeat(at, count) => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(*count));
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            Self::Number(at, value) => {
                let at = place(at);
                let end = bytes.len().min(at + 4);
                let number = value.to_be_bytes();
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let index = || any::<Index>();
    let one = prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        4 => (index(), any::<u8>()).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => index().prop_map(Damage::Cut),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, new)| Damage::Insert(at, new)),
        1 => (index(), any::<u8>()).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (index(), any::<u8>()).prop_map(|(at, count)| Damage::Repeat(at, count)),
        1 => (index(), prop_oneof![any::<u32>(), 0..20_u32, Just(u32::MAX)])
            .prop_map(|(at, value)| Damage::Number(at, value)),
    ];
    prop::collection::vec(one, 0..6)
}

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

/// A readable file of a kind that is decoded here.
fn whole(format: VideoFormat) -> Vec<u8> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x");
    write_clip(&path, &noise(7, 5, 3), format, 10.0).unwrap();
    fs::read(path).unwrap()
}

fn fault(name: &str) -> Vec<u8> {
    fs::read(format!("tests/faults/{name}")).unwrap()
}

fn try_all(cases: u32, start: &'static [u8], files: Vec<Vec<u8>>) {
    proptest!(config(cases), |(file in prop::sample::select(files), damage in damage())| {
        let mut bytes = file;
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        bodies::file(start, &bytes);
    });
}

#[test]
fn damaged_gifs() {
    let files = ["gif-nulmid.gif", "gif-garbage.gif"].map(fault);
    let files = [vec![whole(VideoFormat::Gif)], files.to_vec()].concat();
    try_all(400, bodies::GIF, files);
}

#[test]
fn damaged_pngs() {
    try_all(400, bodies::PNG, vec![whole(VideoFormat::Apng)]);
}

#[test]
fn damaged_webps() {
    let files = ["disposal.webp", "panic-decoder.webp", "panic-yuv.webp"];
    try_all(200, bodies::WEBP, files.map(fault).to_vec());
}

#[cfg(unix)]
#[test]
fn damaged_pipes() {
    let header = b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n";
    let frame = [&header[..], b"abcdefgh"].concat();
    proptest!(config(40), |(damage in damage())| {
        let mut bytes = frame.repeat(3);
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        bodies::pipe(&bytes);
    });
}

#[test]
fn folders_of_anything() {
    let picture = {
        let folder = tempdir().unwrap();
        write_clip(
            folder.path().join("x"),
            &noise(3, 2, 1),
            VideoFormat::Png,
            1.0,
        )
        .unwrap();
        fs::read(folder.path().join("x/frame_00000.png")).unwrap()
    };
    let files = vec![
        picture,
        fault("disposal.webp"),
        whole(VideoFormat::Gif),
        Vec::new(),
    ];
    let name = "[a-c0-2._ü]{0,6}\\.(png|jpg|webp|bmp|gif|txt)";
    let file = (name, prop::sample::select(files), damage());
    proptest!(config(200), |(files in prop::collection::vec(file, 0..5))| {
        let files: Vec<(String, Vec<u8>)> = files
            .into_iter()
            .map(|(name, mut bytes, damage)| {
                damage.iter().for_each(|damage| damage.apply(&mut bytes));
                (name, bytes)
            })
            .collect();
        bodies::folder(&files);
    });
}
