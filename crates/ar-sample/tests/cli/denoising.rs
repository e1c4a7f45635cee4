//! `ar-sample --denoising`.

use ar_video::Frame;

use super::{Folder, TINY, last_line_json};

#[test]
fn denoising_is_shown_iteration_by_iteration() {
    let folder = Folder::new();
    folder.tiny_model();
    let report = last_line_json(&folder.ok(&format!(
        "{TINY} --frames 6 --out a.apng --denoising strips.apng --json"
    )));
    assert_eq!(report["denoising"], "strips.apng");
    let (video, strips) = (folder.frames("a.apng"), folder.frames("strips.apng"));
    // Before the first iteration and after each of 4 + 2 * 5.
    assert_eq!(strips.len(), 15);
    let column = |strip: &Frame, frame: usize| -> Vec<u8> {
        assert_eq!(strip.size(), (6 * 16 + 5 * 2, 16));
        let rows = strip.rgb().chunks_exact(strip.width() * 3);
        let left = frame * (16 + 2) * 3;
        rows.flat_map(|row| row[left..left + 16 * 3].to_vec())
            .collect()
    };
    for (index, frame) in video.iter().enumerate() {
        // Waits until iteration 2 * index, is denoised for 4, and is finished.
        let states: Vec<Vec<u8>> = strips.iter().map(|strip| column(strip, index)).collect();
        let (start, end) = (2 * index, 2 * index + 4);
        assert!(
            states[..=start].iter().all(|state| *state == states[0]),
            "{index}"
        );
        assert_ne!(states[start], states[end]);
        for state in &states[end..] {
            // Decoded together with others, which may round differently.
            let pairs = state.iter().zip(frame.rgb());
            assert!(
                pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 1),
                "{index}"
            );
        }
    }
    for (arguments, what) in [
        ("--count 2 --denoising new.gif", "there are 2 to generate"),
        (
            "--frames 300 --denoising new.mp4",
            "new.mp4: mp4 cannot hold frames of 5398x16 pixels",
        ),
        (
            "--frames 4000 --denoising new.gif",
            "new.gif: gif cannot hold frames of 71998x16 pixels",
        ),
        ("--denoising new.txt", "no format has this extension"),
    ] {
        folder.fails(&format!("{TINY} {arguments}"), what);
    }
}
