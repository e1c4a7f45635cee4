//! H.264 by OpenH264, frame by frame.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

use openh264::encoder::{
    BitRate, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange,
    RateControlMode, VuiConfig,
};
use openh264::{OpenH264API, Timestamp};
use openh264_sys2::{ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_QUIET};

use super::VideoFormat;
use super::yuv::Yuv;
use crate::{Frame, VideoError};

/// The smallest side that OpenH264 accepts.
const MIN_SIDE: usize = 16;
/// The largest sides that OpenH264 accepts, in either order.
const MAX_SIDES: (usize, usize) = (3840, 2160);
/// The same for all frames: high quality, whatever the bit rate. In OpenH264, this is the "buffer
/// based" mode, which refines the quantiser to the lower end of its range; the modes named after
/// quality and bit rate keep changing the quantiser.
const QUANTISER: u8 = 18;
/// With a size limit for slices, OpenH264 makes its frame buffer large enough for noise; otherwise
/// the buffer has one byte per pixel, and frames that need more are errors. Ordinary frames need
/// less than half a byte per pixel, and therefore only one slice; small ones get this many bytes.
const MIN_SLICE_BYTES: u32 = 4096;
/// Only determines the level that the file claims, that is, how fast a player has to be.
const BITS_PER_PIXEL: f64 = 1.0;
/// Seconds between frames that a player can jump to.
const KEY_FRAME_SECONDS: f64 = 2.0;
/// The highest frame rate that OpenH264 supports. The file still plays at its own rate.
const MAX_ENCODER_FPS: f64 = 60.0;

/// A running encoder.
pub(super) struct H264Encoder {
    path: PathBuf,
    fps: f64,
    width: usize,
    height: usize,
    encoder: Encoder,
    frames: u64,
}

/// A compressed frame.
pub(super) struct H264Frame {
    /// NAL units after start codes (Annex B).
    pub bytes: Vec<u8>,
    /// Whether decoding may start here.
    pub is_key: bool,
}

/// The size in which OpenH264 encodes frames of `size`, if it can; the path is for the message.
pub(super) fn padded(path: &Path, size: [usize; 2]) -> Result<[usize; 2], VideoError> {
    let [width, height] = size.map(|side| side.max(MIN_SIDE).next_multiple_of(2));
    if width.max(height) > MAX_SIDES.0 || width.min(height) > MAX_SIDES.1 {
        return Err(VideoError::UnsupportedSize {
            path: path.to_owned(),
            format: VideoFormat::Mp4,
            width: size[0],
            height: size[1],
            limit: "3840x2160 or 2160x3840",
        });
    }
    Ok([width, height])
}

impl H264Encoder {
    /// An encoder for frames of the size of `first`; `path` is for messages.
    pub(super) fn new(path: &Path, fps: f64, first: &Frame) -> Result<Self, VideoError> {
        let [width, height] = padded(path, [first.width(), first.height()])?;
        let mut encoder =
            Encoder::with_api_config(OpenH264API::from_source(), config(width, height, fps))
                .map_err(|e| refused(path, &e))?;
        silence(&mut encoder);
        Ok(Self {
            path: path.to_owned(),
            fps,
            width,
            height,
            encoder,
            frames: 0,
        })
    }

    /// Width and height in pixels, padding included.
    pub(super) fn size(&self) -> [u32; 2] {
        [self.width as u32, self.height as u32]
    }

    /// The number of frames so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn encode(&mut self, frame: &Frame) -> Result<H264Frame, VideoError> {
        let time = self.frames as f64 / self.fps;
        let picture = Yuv::new(frame, self.width, self.height);
        let encoded = self
            .encoder
            .encode_at(&picture, Timestamp::from_millis((time * 1000.0) as u64))
            .map_err(|e| refused(&self.path, &e))?;
        self.frames += 1;
        Ok(H264Frame {
            is_key: encoded.frame_type() == FrameType::IDR,
            bytes: encoded.to_vec(),
        })
    }
}

/// Sizes and rates have been checked, so only threads and memory can be lacking, which the encoder
/// does not report as such.
fn refused(path: &Path, error: &openh264::Error) -> VideoError {
    let said = error.to_string();
    let said = said.split(". ").next().unwrap_or_default();
    let message = format!(
        "the H.264 encoder needs threads and memory to start ({said}): raise the limits on \
         processes and memory (`ulimit -u`, `-v`), or write another format"
    );
    VideoError::encode(path, message)
}

impl H264Frame {
    /// The NAL units without their start codes. No unit contains a start code or ends in zero.
    pub(super) fn nal_units(&self) -> Vec<&[u8]> {
        let starts: Vec<usize> = self
            .bytes
            .windows(3)
            .enumerate()
            .filter_map(|(at, bytes)| (bytes == [0, 0, 1]).then_some(at))
            .collect();
        let ends = starts.iter().skip(1).copied().chain([self.bytes.len()]);
        starts
            .iter()
            .zip(ends)
            .map(|(start, end)| without_trailing_zeros(&self.bytes[start + 3..end]))
            .collect()
    }
}

/// A start code may have any number of leading zeros, which do not belong to the unit before.
fn without_trailing_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0);
    &bytes[..end.map_or(0, |last| last + 1)]
}

fn config(width: usize, height: usize, fps: f64) -> EncoderConfig {
    let encoder_fps = fps.clamp(1.0, MAX_ENCODER_FPS);
    let bits = (width * height) as f64 * encoder_fps * BITS_PER_PIXEL;
    EncoderConfig::new()
        .rate_control_mode(RateControlMode::Bufferbased)
        .bitrate(BitRate::from_bps(bits.round() as u32))
        .max_frame_rate(FrameRate::from_hz(encoder_fps as f32))
        .qp(QpRange::new(QUANTISER, QUANTISER))
        .max_slice_len(((width * height) as u32 / 2).max(MIN_SLICE_BYTES))
        .skip_frames(false)
        .intra_frame_period(IntraFramePeriod::from_num_frames(
            (fps * KEY_FRAME_SECONDS).ceil() as u32,
        ))
        .vui(VuiConfig::bt601())
}

/// Keeps OpenH264 from printing warnings. Its wrapper does this too, but only after the encoder has
/// started and warned about the limit for slices.
fn silence(encoder: &mut Encoder) {
    let mut level: c_int = WELS_LOG_QUIET;
    // SAFETY: the option takes a pointer to an `int`, which is read before the call returns, and
    // may be set before the encoder is started.
    unsafe {
        encoder
            .raw_api()
            .set_option(ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_codes_part_the_units() {
        let frame = H264Frame {
            bytes: vec![0, 0, 0, 1, 0x67, 5, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 0, 7],
            is_key: true,
        };
        let expected: [&[u8]; 3] = [&[0x67, 5], &[0x68], &[0x65, 0, 7]];
        assert_eq!(frame.nal_units(), expected);
    }
}
