//! Sixel graphics: bands of six rows, a pass for each colour.

use std::collections::BTreeSet;
use std::fmt::Write;

use ar_video::Frame;

use super::cells::{Cells, resized};

/// Levels of red, green and blue: 216 of the 256 colours that terminals have.
const LEVELS: usize = 6;
/// Approximate size of a character in pixels, which terminals do not report.
const CELL: [usize; 2] = [8, 16];
/// Rows per band.
const BAND: usize = 6;

pub(super) fn encode(picture: &Frame, Cells { columns, rows }: Cells) -> String {
    let [width, height] = [columns * CELL[0], rows * CELL[1]];
    let picture = resized(picture, width, height);
    let colours: Vec<usize> = picture.rgb().chunks_exact(3).map(colour).collect();
    // The cursor is saved, since terminals leave it in different places.
    let mut text = format!("\x1b7\x1bP0;1q\"1;1;{width};{height}");
    for used in colours.iter().collect::<BTreeSet<_>>() {
        let [r, g, b] = [
            used / (LEVELS * LEVELS),
            used / LEVELS % LEVELS,
            used % LEVELS,
        ]
        .map(|level| level * 100 / (LEVELS - 1));
        let _ = write!(text, "#{used};2;{r};{g};{b}");
    }
    for band in colours.chunks(BAND * width) {
        for used in band.iter().collect::<BTreeSet<_>>() {
            let _ = write!(text, "#{used}");
            let sixels = (0..width).map(|x| {
                let column = band.iter().skip(x).step_by(width).enumerate();
                let bits = column.filter(|(_, colour)| *colour == used);
                bits.map(|(y, _)| 1 << y).sum::<u8>()
            });
            write_runs(&mut text, sixels);
            text.push('$');
        }
        text.push('-');
    }
    text += "\x1b\\\x1b8";
    text + &"\r\n".repeat(rows)
}

/// The nearest colour.
fn colour(rgb: &[u8]) -> usize {
    rgb.iter().fold(0, |colour, &value| {
        let level = (usize::from(value) * (LEVELS - 1) + 127) / 255;
        colour * LEVELS + level
    })
}

/// Writes sixels, with run lengths for equal ones.
fn write_runs(text: &mut String, sixels: impl Iterator<Item = u8>) {
    let mut run: Option<(u8, usize)> = None;
    for sixel in sixels {
        match &mut run {
            Some((last, count)) if *last == sixel => *count += 1,
            _ => {
                write_run(text, run);
                run = Some((sixel, 1));
            }
        }
    }
    write_run(text, run);
}

fn write_run(text: &mut String, run: Option<(u8, usize)>) {
    let Some((sixel, count)) = run else { return };
    let character = char::from(b'?' + sixel);
    match count {
        1 => text.push(character),
        _ => {
            let _ = write!(text, "!{count}{character}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_bands_of_colours() {
        let picture = Frame::new(2, 1, vec![255, 0, 0, 0, 0, 255]);
        let text = encode(
            &picture,
            Cells {
                columns: 1,
                rows: 1,
            },
        );
        let red = 5 * 36;
        // 8 x 16 pixels, half red and half blue, in bands of 6, 6 and 4 rows.
        let bands = format!("#5!4?!4~$#{red}!4~!4?$-");
        let last = format!("#5!4?!4N$#{red}!4N!4?$-");
        assert_eq!(
            text,
            format!(
                "\x1b7\x1bP0;1q\"1;1;8;16#5;2;0;0;100#{red};2;100;0;0{bands}{bands}{last}\
                 \x1b\\\x1b8\r\n"
            )
        );
    }
}
