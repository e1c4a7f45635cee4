//! Image files, and folders of them.

use std::cmp::Ordering;
use std::fs;
use std::io::Cursor;
use std::iter;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbaImage};

use super::frames::{Frames, checked_size};
use super::names::{has_extension, is_hidden};
use super::{apng, webp};
use crate::{Frame, VideoError};

/// The image formats that are read without ffmpeg.
pub(super) const FORMATS: [ImageFormat; 4] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Bmp,
    ImageFormat::WebP,
];

const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];

/// The frames of an animation, or the one of a still image.
pub(super) fn open_file(path: &Path, format: ImageFormat) -> Result<Frames, VideoError> {
    let animation = match format {
        ImageFormat::Png => apng::open(path)?,
        ImageFormat::WebP => webp::open(path)?,
        _ => None,
    };
    Ok(match animation {
        Some(frames) => frames,
        None => Box::new(iter::once(read(path)?).map(Ok)),
    })
}

/// The images of a folder, one frame each, without the first `skipped` ones.
pub(super) fn open_folder(folder: &Path, skipped: usize) -> Result<Frames, VideoError> {
    let images = list(folder)?;
    if images.is_empty() {
        return Err(VideoError::NoImages {
            path: folder.to_owned(),
        });
    }
    let mut first: Option<(PathBuf, (usize, usize))> = None;
    Ok(Box::new(images.into_iter().skip(skipped).map(
        move |path| {
            let frame = read(&path)?;
            let (first, first_size) = first.get_or_insert_with(|| (path.clone(), frame.size()));
            if frame.size() != *first_size {
                return Err(VideoError::MixedSizes {
                    first: first.clone(),
                    first_size: *first_size,
                    other: path,
                    other_size: frame.size(),
                });
            }
            Ok(frame)
        },
    )))
}

/// The image files of a folder in natural order of their names. Hidden files are left out.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, VideoError> {
    let mut images = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| VideoError::io(folder, e))? {
        let path = entry.map_err(|e| VideoError::io(folder, e))?.path();
        if has_extension(&path, &EXTENSIONS) && !is_hidden(&path) && !path.is_dir() {
            images.push(path);
        }
    }
    images.sort_by(|a, b| natural_order(&name(a), &name(b)));
    Ok(images)
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Runs of digits compare as numbers, everything else as text.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while let (Some(x), Some(y)) = (rest_a.chars().next(), rest_b.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (number_a, number_b) = (take_number(&mut rest_a), take_number(&mut rest_b));
            number_a
                .len()
                .cmp(&number_b.len())
                .then(number_a.cmp(number_b))
        } else {
            rest_a = &rest_a[x.len_utf8()..];
            rest_b = &rest_b[y.len_utf8()..];
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
    // Names that differ only in leading zeros still have one order.
    rest_a.len().cmp(&rest_b.len()).then(a.cmp(b))
}

/// Takes the digits at the start of `text`, returned without leading zeros.
fn take_number<'a>(text: &mut &'a str) -> &'a str {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

/// A still image, turned as its EXIF orientation says. Of an animation, the default image.
fn read(path: &Path) -> Result<Frame, VideoError> {
    let bytes = fs::read(path).map_err(|e| VideoError::io(path, e))?;
    if bytes.is_empty() {
        return Err(VideoError::EmptyFile {
            path: path.to_owned(),
        });
    }
    if image::guess_format(&bytes).is_ok_and(|f| f == ImageFormat::Jpeg) && !jpeg_is_whole(&bytes) {
        return Err(VideoError::decode(path, "the JPEG data ends early"));
    }
    let failed = |e: ImageError| VideoError::decode(path, e);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| VideoError::io(path, e))?;
    reader.limits(Limits::default());
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    checked_size(path, width.into(), height.into())?;
    let orientation = decoder.orientation().map_err(failed)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    image.apply_orientation(orientation);
    Ok(to_frame(image))
}

/// Whether the last scan (FF DA) is followed by the end of the image (FF D9): the decoder fills a
/// truncated image up with grey. Neither marker can occur inside of compressed data.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9).is_some_and(|end| last(0xda).is_none_or(|scan| scan < end))
}

/// 8-bit RGB, transparent pixels blended over black.
fn to_frame(image: DynamicImage) -> Frame {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let rgb = if image.color().has_alpha() {
        over_black(&image.into_rgba8())
    } else {
        image.into_rgb8().into_raw()
    };
    Frame::new(width, height, rgb)
}

fn over_black(image: &RgbaImage) -> Vec<u8> {
    let blend = |colour: u8, alpha: u8| ((u16::from(colour) * u16::from(alpha) + 127) / 255) as u8;
    image
        .pixels()
        .flat_map(|p| [blend(p[0], p[3]), blend(p[1], p[3]), blend(p[2], p[3])])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_natural_order() {
        let mut names = [
            "a10.png", "a9.png", "b1.png", "a09.png", "a.png", "a9x.png", "A1.png",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "A1.png", "a.png", "a09.png", "a9.png", "a9x.png", "a10.png", "b1.png"
            ]
        );
        let long = [
            "99999999999999999999999.png",
            "100000000000000000000000.png",
        ];
        assert_eq!(natural_order(long[0], long[1]), Ordering::Less);
    }

    #[test]
    fn transparency_is_black() {
        let image = RgbaImage::from_raw(1, 2, vec![255, 200, 7, 0, 255, 200, 7, 128]).unwrap();
        let frame = to_frame(DynamicImage::ImageRgba8(image));
        assert_eq!(frame.rgb(), [0, 0, 0, 128, 100, 4]);
    }
}
