//! A character for two pixels, one above the other: the upper half block in the colour of the upper
//! pixel, on a background in the colour of the lower one.

use std::fmt::Write;

use ar_video::Frame;

use super::cells::{Cells, resized};

pub(super) fn encode(picture: &Frame, Cells { columns, rows }: Cells) -> String {
    let picture = resized(picture, columns, 2 * rows);
    let (above, below): (Vec<&[u8]>, Vec<&[u8]>) = picture
        .rgb()
        .chunks_exact(6 * columns)
        .map(|rows| rows.split_at(3 * columns))
        .unzip();
    let mut text = String::new();
    for (above, below) in above.into_iter().zip(below) {
        let mut last = None;
        for colours in above.chunks_exact(3).zip(below.chunks_exact(3)) {
            if last != Some(colours) {
                let ([r, g, b], [r2, g2, b2]) = (pixel(colours.0), pixel(colours.1));
                let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m");
                last = Some(colours);
            }
            text.push('▀');
        }
        text += "\x1b[0m\r\n";
    }
    text
}

fn pixel(rgb: &[u8]) -> [u8; 3] {
    [rgb[0], rgb[1], rgb[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_has_two_pixels() {
        let rgb = vec![
            1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6, 0, 0, 0, 9, 9, 9, 0, 0, 0, 0, 0, 0,
        ];
        let cells = Cells {
            columns: 2,
            rows: 2,
        };
        assert_eq!(
            encode(&Frame::new(2, 4, rgb), cells),
            "\x1b[38;2;1;2;3;48;2;4;5;6m▀▀\x1b[0m\r\n\
             \x1b[38;2;0;0;0;48;2;0;0;0m▀\x1b[38;2;9;9;9;48;2;0;0;0m▀\x1b[0m\r\n"
        );
    }
}
