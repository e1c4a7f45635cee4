//! A folder of PNG files.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use png::{BitDepth, ColorType, Compression, EncodingError};

use super::encoder::Encoder;
use super::output::OutputFolder;
use crate::{Frame, VideoError};

pub(super) struct PngFolder {
    output: OutputFolder,
    frames: usize,
}

impl PngFolder {
    pub(super) fn create(path: &Path) -> Result<Self, VideoError> {
        Ok(Self {
            output: OutputFolder::create(path)?,
            frames: 0,
        })
    }
}

impl Encoder for PngFolder {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError> {
        let path = self.output.path();
        let mut file = self
            .output
            .create_file(&format!("frame_{:05}.png", self.frames))?;
        let failed = |e| png_error(path, e);
        let mut writer = header(&mut file, frame).write_header().map_err(failed)?;
        writer.write_image_data(frame.rgb()).map_err(failed)?;
        writer.finish().map_err(failed)?;
        file.flush().map_err(|e| VideoError::io(path, e))?;
        self.frames += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), VideoError> {
        self.output.persist()
    }
}

/// The frame as a PNG file in base64, for text: events, pages, terminals.
pub fn png_base64(frame: &Frame) -> String {
    STANDARD.encode(encode_png(frame))
}

/// The frame as a PNG file, in memory. It is compressed for speed.
pub fn encode_png(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = header(&mut bytes, frame);
    encoder.set_compression(Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(frame.rgb())?;
        writer.finish()
    });
    written.expect("a frame is a picture, and memory takes it");
    bytes
}

/// An encoder for 8-bit RGB pictures of the size of `frame`.
pub(super) fn header<W: Write>(output: W, frame: &Frame) -> png::Encoder<'static, W> {
    let mut encoder = png::Encoder::new(output, frame.width() as u32, frame.height() as u32);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder
}

pub(super) fn png_error(path: &Path, error: EncodingError) -> VideoError {
    match error {
        EncodingError::IoError(e) => VideoError::io(path, e),
        e => VideoError::encode(path, e),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn pictures_in_memory_are_lossless() {
        let rgb: Vec<u8> = (0..7 * 5 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let frame = Frame::new(7, 5, rgb);
        let decoder = png::Decoder::new(io::Cursor::new(encode_png(&frame)));
        let mut reader = decoder.read_info().expect("a PNG file");
        let mut found = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut found).expect("a picture");
        assert_eq!((info.width, info.height), (7, 5));
        assert_eq!(found, frame.rgb());
    }
}
