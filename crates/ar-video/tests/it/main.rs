//! Reading and writing of whole files, all of which are made here.
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

mod bodies;
mod damage;
mod errors;
mod faults;
mod ffmpeg;
mod mp4;
mod reading;
mod streaming;
mod writing;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ar_video::{Clip, Frame};

/// A smooth moving picture, which every encoder should encode well.
fn smooth(width: usize, height: usize, frames: usize) -> Clip {
    let picture = |t: usize| {
        let pixel = |i: usize| {
            let (x, y) = ((i % width) as f64, (i / width) as f64);
            let wave = |scale: f64, phase: f64| {
                127.5 + 100.0 * ((x + 2.0 * t as f64) / scale + phase + y / 31.0).sin()
            };
            [wave(17.0, 0.0), wave(23.0, 1.0), wave(29.0, 2.0)].map(|value| value as u8)
        };
        Frame::new(width, height, (0..width * height).flat_map(pixel).collect())
    };
    Clip::new((0..frames).map(picture).collect())
}

/// Noise: every byte counts.
fn noise(width: usize, height: usize, frames: usize) -> Clip {
    let mut state = 1_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut picture = |_| {
        Frame::new(
            width,
            height,
            (0..width * height * 3).map(|_| byte()).collect(),
        )
    };
    Clip::new((0..frames).map(&mut picture).collect())
}

/// Peak signal-to-noise ratio of 8-bit values, in dB.
fn psnr(a: &Frame, b: &Frame) -> f64 {
    assert_eq!(a.size(), b.size());
    let squares: f64 = a
        .rgb()
        .iter()
        .zip(b.rgb())
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    10.0 * (255.0_f64.powi(2) / (squares / a.rgb().len() as f64)).log10()
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether tests can use the system's ffmpeg.
fn has_ffmpeg() -> bool {
    let status = Command::new("ffmpeg")
        .arg("-version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let found = status.is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: there is no ffmpeg");
    }
    found
}
