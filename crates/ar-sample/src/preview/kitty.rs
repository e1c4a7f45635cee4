//! kitty's graphics protocol (<https://sw.kovidgoyal.net/kitty/graphics-protocol>).

use ar_video::{Frame, png_base64};

use super::cells::Cells;

/// The most bytes of base64 in one escape code.
const PIECE: usize = 4096;
/// The id of our picture, which the next one replaces.
const ID: u32 = 0x6172;

pub(super) fn encode(picture: &Frame, Cells { columns, rows }: Cells) -> String {
    let data = png_base64(picture);
    let pieces: Vec<&str> = (0..data.len())
        .step_by(PIECE)
        .map(|start| &data[start..data.len().min(start + PIECE)])
        .collect();
    let mut text = String::new();
    for (place, piece) in pieces.iter().enumerate() {
        let more = u8::from(place + 1 < pieces.len());
        // A PNG file, shown at once with this size in characters; the terminal sends no answer, and
        // the cursor does not move.
        let keys = match place {
            0 => format!("a=T,f=100,i={ID},p=1,c={columns},r={rows},C=1,q=2,"),
            _ => String::new(),
        };
        text += &format!("\x1b_G{keys}m={more};{piece}\x1b\\");
    }
    text + &"\r\n".repeat(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_png_files_in_pieces() {
        let rgb = (0..64 * 64 * 3).map(|i| (i * 7919 % 256) as u8).collect();
        let picture = Frame::new(64, 64, rgb);
        let text = encode(
            &picture,
            Cells {
                columns: 8,
                rows: 4,
            },
        );
        let mut data = String::new();
        let mut pieces = 0;
        for piece in text.trim_end().split("\x1b_G").skip(1) {
            let (keys, rest) = piece.split_once(';').expect("data");
            let part = rest.strip_suffix("\x1b\\").expect("an end");
            assert!(part.len() <= PIECE);
            let is_last = data.len() + part.len() == png_base64(&picture).len();
            assert!(
                keys.ends_with(if is_last { "m=0" } else { "m=1" }),
                "{keys}"
            );
            data += part;
            pieces += 1;
        }
        assert!(pieces > 1);
        assert_eq!(data, png_base64(&picture));
        assert!(text.ends_with("\x1b\\\r\n\r\n\r\n\r\n"));
    }
}
