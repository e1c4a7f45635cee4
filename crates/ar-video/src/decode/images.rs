//! Image files, and folders of them.

use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read, Seek};
use std::iter;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::blend::over_black;
use super::frames::{Frames, checked_size};
use super::guard::guarded;
use super::names::{Named, is_hidden, named};
use super::natural_order::{Point, natural_order};
use super::{apng, webp};
use crate::limits::MAX_PICTURE_BYTES;
use crate::{Frame, VideoError};

/// The image formats that are read without ffmpeg.
pub(super) const FORMATS: [ImageFormat; 4] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Bmp,
    ImageFormat::WebP,
];

/// The frames of an animation, or the single frame of a still image.
pub(super) fn open_file(path: &Path, format: ImageFormat) -> Result<Frames, VideoError> {
    let animation = match format {
        ImageFormat::Png => apng::open(path)?,
        ImageFormat::WebP => webp::open(path)?,
        _ => None,
    };
    Ok(match animation {
        Some(frames) => frames,
        None => Box::new(iter::once(read(path, &read_bytes(path)?)?).map(Ok)),
    })
}

/// The images of a folder, one per frame, without the first `skipped` ones.
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
            let frame = guarded(&path, || read_frame(&path))?;
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
fn list(folder: &Path) -> Result<Vec<PathBuf>, VideoError> {
    let mut images = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| VideoError::io(folder, e))? {
        let path = entry.map_err(|e| VideoError::io(folder, e))?.path();
        if named(&path) == Named::Picture && !is_hidden(&path) && !path.is_dir() {
            images.push(path);
        }
    }
    let in_order = |point: Point| {
        let mut images = images.clone();
        images.sort_by(|a, b| natural_order(&name(a), &name(b), point));
        images
    };
    let (images, decimal) = (in_order(Point::Separates), in_order(Point::Decimal));
    match images.iter().zip(&decimal).find(|(a, b)| a != b) {
        Some((first, other)) => Err(VideoError::UnclearOrder {
            path: folder.to_owned(),
            first: name(first),
            other: name(other),
        }),
        None => Ok(images),
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The still image for a frame of a folder.
fn read_frame(path: &Path) -> Result<Frame, VideoError> {
    let bytes = read_bytes(path)?;
    if is_animation(Cursor::new(&bytes)) {
        let path = path.to_owned();
        return Err(VideoError::AnimationAmongFrames { path });
    }
    read(path, &bytes)
}

/// Whether a PNG or WebP file is an animation. As little as possible is read.
fn is_animation(mut stream: impl Read + Seek) -> bool {
    let mut start = [0; webp::START];
    if stream.read_exact(&mut start).is_err() {
        return false;
    }
    // A file that ends early is not an animation, and is an error when it is read.
    webp::is_animated(&start)
        || stream.rewind().is_ok() && apng::is_animated(&mut stream).unwrap_or(false)
}

/// Whether a picture file is an animation, if it can be read at all.
pub(super) fn is_animated_file(path: &Path) -> bool {
    /// Heads of chunks are small.
    const BUFFER: usize = 512;
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file
        && File::open(path).is_ok_and(|file| is_animation(BufReader::with_capacity(BUFFER, file)))
}

/// The contents of a picture file. Anything else, such as a pipe, may have no end.
fn read_bytes(path: &Path) -> Result<Vec<u8>, VideoError> {
    let io = |e| VideoError::io(path, e);
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(VideoError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_PICTURE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    match bytes.len() as u64 {
        0 => Err(VideoError::EmptyFile {
            path: path.to_owned(),
        }),
        1..=MAX_PICTURE_BYTES => Ok(bytes),
        _ => Err(VideoError::decode(
            path,
            format!("a picture file has at most {} MiB", MAX_PICTURE_BYTES >> 20),
        )),
    }
}

/// A still image, rotated by its EXIF orientation; for an animation, the default image.
fn read(path: &Path, bytes: &[u8]) -> Result<Frame, VideoError> {
    if image::guess_format(bytes).is_ok_and(|f| f == ImageFormat::Jpeg) && !jpeg_is_whole(bytes) {
        return Err(VideoError::decode(path, "the JPEG data ends early"));
    }
    let bytes = apng::without_profile(bytes);
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

/// Whether the last scan (FF DA) is followed by the end of the image (FF D9): the decoder fills
/// truncated images with grey. Neither marker can occur inside compressed data.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9).is_some_and(|end| last(0xda).is_none_or(|scan| scan < end))
}

/// 8-bit RGB, transparent pixels blended over black.
fn to_frame(image: DynamicImage) -> Frame {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let rgb = if image.color().has_alpha() {
        over_black(image.into_rgba8().as_raw())
    } else {
        image.into_rgb8().into_raw()
    };
    Frame::new(width, height, rgb)
}
