//! PSNR and SSIM of the videos in one folder against videos with the same names in another: `cargo
//! run --release -p ar-metrics --example compare_folders -- FOLDER TRUTH`.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use ar_metrics::{SSIM_WINDOW, psnr, ssim};
use ar_video::{FileKind, read_clip};

fn main() -> Result<(), Box<dyn Error>> {
    let mut folders = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(truth)) = (folders.next(), folders.next()) else {
        return Err("give two folders: the videos, and how they should be".into());
    };
    let entries = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.retain(|path| path.is_dir() || FileKind::of(path) == FileKind::Video);
    paths.sort();
    let mut sums = [0.0; 2];
    for path in &paths {
        let name = path.file_name().ok_or("a video has a name")?;
        let [video, truth] = [read_clip(path)?, read_clip(truth.join(name))?];
        let (video, truth) = (video.frames(), truth.frames());
        let size = video[0].size();
        if video.len() != truth.len() || size != truth[0].size() {
            return Err(format!("{name:?}: the two differ in length or size").into());
        }
        if size.0.min(size.1) < SSIM_WINDOW {
            return Err(format!("{name:?}: SSIM needs {SSIM_WINDOW} pixels").into());
        }
        let figures = [psnr(video, truth), ssim(video, truth)];
        println!("{name:?}  {:.2} dB  {:.4}", figures[0], figures[1]);
        sums = [sums[0] + figures[0], sums[1] + figures[1]];
    }
    let [psnr, ssim] = sums.map(|sum| sum / paths.len() as f64);
    println!("mean of {}  {psnr:.2} dB  {ssim:.4}", paths.len());
    Ok(())
}
