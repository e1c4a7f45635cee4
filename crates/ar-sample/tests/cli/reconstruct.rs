//! `ar-sample reconstruct`.

use ar_video::{Clip, Frame, VideoFormat, read_clip, write_clip};

use super::{Folder, last_line_json};

#[test]
fn reconstruction_is_measured() {
    let folder = Folder::new();
    // More frames than are decoded at once, not square, and larger than the VAE's.
    let shade = |i: u8| Frame::new(96, 80, [i * 10, 40, 200 - i * 10].repeat(96 * 80));
    let clip = Clip::new((0..19).map(shade).collect());
    write_clip(folder.path("in.apng"), &clip, VideoFormat::Apng, 8.0).expect("a video");
    let stdout = folder.ok("reconstruct in.apng --out out.apng --json");
    let first = stdout.lines().next().expect("a line");
    assert!(first.starts_with("out.apng: 19 frames of 64x64"), "{first}");
    assert!(
        first.contains("PSNR ") && first.contains("SSIM "),
        "{first}"
    );
    let report = last_line_json(&stdout);

    let output = read_clip(folder.path("out.apng"))
        .expect("a video")
        .into_frames();
    let input = clip
        .frames()
        .iter()
        .map(|frame| ar_video::square_crop(frame, 64));
    let input: Vec<Frame> = input.collect();
    let close = |key: &str, expected: f64| {
        let value = report[key].as_f64().expect(key);
        assert!((value - expected).abs() < 1e-9, "{key}: {value}");
    };
    close("psnr", ar_metrics::psnr(&input, &output));
    close("ssim", ar_metrics::ssim(&input, &output));

    std::fs::write(folder.path("text.mp4"), "not a video").expect("a file");
    std::fs::write(folder.path("empty.mp4"), "").expect("a file");
    let apng = folder.read("in.apng");
    std::fs::write(folder.path("torn.apng"), &apng[..apng.len() / 2]).expect("a file");
    for (video, what) in [
        ("nowhere.mp4", "nowhere.mp4: no such file"),
        ("text.mp4", "text.mp4: "),
        ("empty.mp4", "the file is empty"),
        ("torn.apng", "torn.apng: cannot decode"),
    ] {
        folder.fails(&format!("reconstruct {video} --out new.gif"), what);
    }
}
