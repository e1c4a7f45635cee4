//! Transparency: pixels are blended over black.

/// `rgba` without its alpha: each pixel blended over black.
pub(super) fn over_black(rgba: &[u8]) -> Vec<u8> {
    let blend = |colour: u8, alpha: u8| ((u16::from(colour) * u16::from(alpha) + 127) / 255) as u8;
    let (pixels, _) = rgba.as_chunks::<4>();
    pixels
        .iter()
        .flat_map(|&[r, g, b, alpha]| [r, g, b].map(|colour| blend(colour, alpha)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparency_is_black() {
        let rgba = [255, 200, 7, 0, 255, 200, 7, 128, 255, 200, 7, 255];
        assert_eq!(over_black(&rgba), [0, 0, 0, 128, 100, 4, 255, 200, 7]);
    }
}
