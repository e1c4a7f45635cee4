//! Damaged checkpoints and logs: the bodies of the fuzz targets, with files that are damaged at random.

mod bodies;

use std::env;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs `case` with the same random numbers every time; with `AR_FUZZ_TIMES` set, that many times as many cases, with
/// different ones.
fn for_cases(cases: usize, mut case: impl FnMut(&mut ChaCha8Rng)) {
    let times = env::var("AR_FUZZ_TIMES").ok();
    let times: Option<usize> = times.map(|times| times.parse().expect("AR_FUZZ_TIMES is a number"));
    let mut rng = match times {
        Some(_) => ChaCha8Rng::from_rng(&mut rand::rng()),
        None => ChaCha8Rng::seed_from_u64(0),
    };
    for _ in 0..cases * times.unwrap_or(1) {
        case(&mut rng);
    }
}

/// With a few bits flipped, bytes replaced, or its end cut off.
fn damaged(whole: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let Some(last) = bytes.len().checked_sub(1) else {
            break;
        };
        // Where headers are, or anywhere.
        let at = match rng.random_range(0..2) {
            0 => rng.random_range(0..=last.min(400)),
            _ => rng.random_range(0..=last),
        };
        match rng.random_range(0..4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.random(),
            2 => bytes[at] = *[0, 0xff, 0x7f, 0x80, b'9'].get(at % 5).unwrap_or(&0),
            _ => bytes[at] ^= 1 << rng.random_range(0..8),
        }
    }
    bytes
}

#[test]
fn damaged_checkpoints() {
    for_cases(300, |rng| {
        let file = rng.random_range(0..bodies::FILES.len());
        bodies::checkpoint(file, &damaged(&bodies::whole()[file], rng));
    });
}

#[test]
fn damaged_logs() {
    const WHOLE: &str = "{\"step\":1,\"loss\":0.5,\"learning_rate\":0.001}\n\
                         {\"step\":2,\"loss\":0.25,\"learning_rate\":0.001}\n\
                         {\"step\":2,\"validation_loss\":0.3}\n";
    const VALUES: [&str; 9] = [
        "1e308", "-1e308", "1e-320", "0", "null", "\"x\"", "[1]", "1e400", "true",
    ];
    for_cases(300, |rng| {
        let mut text = WHOLE.to_owned();
        for number in ["0.5", "0.25", "0.001", "0.3"] {
            if rng.random_range(0..3) == 0 {
                text = text.replace(number, VALUES[rng.random_range(0..VALUES.len())]);
            }
        }
        let bytes = match rng.random_range(0..2) {
            0 => text.into_bytes(),
            _ => damaged(text.as_bytes(), rng),
        };
        bodies::log(&bytes);
    });
}
