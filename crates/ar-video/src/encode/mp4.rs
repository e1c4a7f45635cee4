//! H.264 in MP4: encoded by OpenH264, laid out by muxide with the index in front (fast start).

use std::ffi::c_int;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use muxide::api::{Muxer, MuxerBuilder, MuxerError, VideoCodec};
use openh264::encoder::{
    BitRate, Encoder as H264Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod,
    QpRange, RateControlMode, VuiConfig,
};
use openh264::{OpenH264API, Timestamp};
use openh264_sys2::{ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_QUIET};

use super::output::OutputFile;
use super::yuv::Yuv;
use super::{Encoder, VideoFormat};
use crate::{Frame, VideoError};

/// The smallest side that OpenH264 takes.
const MIN_SIDE: usize = 16;
/// The largest sides that OpenH264 takes, either way round.
const MAX_SIDES: (usize, usize) = (3840, 2160);
/// The same for all frames: high quality, whatever it takes. OpenH264 has this as the
/// "buffer based" mode, which refines the quantiser until the lower end of its range; the modes
/// called after quality and bit rate change the quantiser all the time.
const QUANTISER: u8 = 18;
/// With a size limit for slices OpenH264 makes its buffer for a frame large enough for noise;
/// otherwise it is one byte a pixel, and frames that need more are errors. Ordinary frames need
/// less than half a byte a pixel, and so only one slice; small ones get this many bytes.
const MIN_SLICE_BYTES: u32 = 4096;
/// Only decides which level the file claims, that is, how fast a player has to be.
const BITS_PER_PIXEL: f64 = 1.0;
/// Seconds between frames that a player can jump to.
const KEY_FRAME_SECONDS: f64 = 2.0;
/// OpenH264 knows no higher frame rate. The file plays at its own.
const MAX_ENCODER_FPS: f64 = 60.0;
/// Chunk offsets and the size of the data have 32 bits; some room is left for the index.
const MAX_BYTES: u64 = u32::MAX as u64 - (1 << 26);

pub(super) struct Mp4Encoder {
    path: PathBuf,
    fps: f64,
    /// Until the first frame tells the size.
    output: Option<OutputFile>,
    stream: Option<Stream>,
}

struct Stream {
    width: usize,
    height: usize,
    encoder: H264Encoder,
    muxer: Muxer<OutputFile>,
    frames: u64,
    bytes: u64,
}

impl Mp4Encoder {
    pub fn create(path: &Path, fps: f64) -> Result<Self, VideoError> {
        let output = Some(OutputFile::create(path)?);
        Ok(Self {
            path: path.to_owned(),
            fps,
            output,
            stream: None,
        })
    }

    fn start(&self, frame: &Frame, output: OutputFile) -> Result<Stream, VideoError> {
        let [width, height] =
            [frame.width(), frame.height()].map(|side| side.max(MIN_SIDE).next_multiple_of(2));
        if width.max(height) > MAX_SIDES.0 || width.min(height) > MAX_SIDES.1 {
            return Err(VideoError::UnsupportedSize {
                path: self.path.clone(),
                format: VideoFormat::Mp4,
                width: frame.width(),
                height: frame.height(),
                limit: "3840x2160 or 2160x3840",
            });
        }
        let fps = self.fps.clamp(1.0, MAX_ENCODER_FPS);
        let bits = (width * height) as f64 * fps * BITS_PER_PIXEL;
        let config = EncoderConfig::new()
            .rate_control_mode(RateControlMode::Bufferbased)
            .bitrate(BitRate::from_bps(bits.round() as u32))
            .max_frame_rate(FrameRate::from_hz(fps as f32))
            .qp(QpRange::new(QUANTISER, QUANTISER))
            .max_slice_len(((width * height) as u32 / 2).max(MIN_SLICE_BYTES))
            .skip_frames(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(
                (self.fps * KEY_FRAME_SECONDS).ceil() as u32,
            ))
            .vui(VuiConfig::bt601());
        let mut encoder = H264Encoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(|e| VideoError::encode(&self.path, e))?;
        silence(&mut encoder);
        let muxer = MuxerBuilder::new(output)
            .video(VideoCodec::H264, width as u32, height as u32, self.fps)
            .with_fast_start(true)
            .build()
            .map_err(|e| muxer_error(&self.path, e))?;
        Ok(Stream {
            width,
            height,
            encoder,
            muxer,
            frames: 0,
            bytes: 0,
        })
    }
}

impl Encoder for Mp4Encoder {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError> {
        if let Some(output) = self.output.take() {
            self.stream = Some(self.start(frame, output)?);
        }
        let stream = self.stream.as_mut().expect("started with the first frame");
        let time = stream.frames as f64 / self.fps;
        let picture = Yuv::new(frame, stream.width, stream.height);
        let encoded = stream
            .encoder
            .encode_at(&picture, Timestamp::from_millis((time * 1000.0) as u64))
            .map_err(|e| VideoError::encode(&self.path, e))?;
        let is_key = encoded.frame_type() == FrameType::IDR;
        let bytes = encoded.to_vec();
        stream.bytes += bytes.len() as u64;
        if stream.bytes > MAX_BYTES {
            return Err(VideoError::encode(
                &self.path,
                "an MP4 file holds at most 4 GiB",
            ));
        }
        stream
            .muxer
            .write_video(time, &bytes, is_key)
            .map_err(|e| muxer_error(&self.path, e))?;
        stream.frames += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), VideoError> {
        let mut stream = self.stream.expect("started with the first frame");
        stream
            .muxer
            .finish_in_place()
            .map_err(|e| muxer_error(&self.path, e))?;
        let mut output = stream.muxer.into_writer();
        if stream.frames == 1 {
            set_only_duration(&mut output, self.fps).map_err(|e| VideoError::io(&self.path, e))?;
        }
        output.persist()
    }
}

/// Keeps OpenH264 from printing warnings. Its wrapper does this too, but only after the start of
/// the encoder, which warns that a limit for slices limits slices.
fn silence(encoder: &mut H264Encoder) {
    let mut level: c_int = WELS_LOG_QUIET;
    // SAFETY: the option takes a pointer to an `int`, which is read before the call returns, and
    // may be set before the encoder is started.
    unsafe {
        encoder
            .raw_api()
            .set_option(ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast());
    }
}

/// Writes `1 / fps` for the duration of the only frame. The muxer takes the duration of a frame
/// from the next one, and without a next one writes 1/90000 s, which players show for no time.
fn set_only_duration(file: &mut (impl Read + Write + Seek), fps: f64) -> io::Result<()> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(4096).read_to_end(&mut head)?;
    // Where the duration stands after the name of its box, and its unit.
    for (name, offset, unit) in [
        (b"mvhd", 20, 1000.0),
        (b"tkhd", 24, 1000.0),
        (b"mdhd", 20, 90_000.0),
        (b"stts", 16, 90_000.0),
    ] {
        let at = head
            .windows(4)
            .position(|bytes| bytes == name)
            .map(|at| at + offset);
        let duration = at.and_then(|at| head.get_mut(at..at + 4)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the index of the MP4 file is not in front",
            )
        })?;
        duration.copy_from_slice(&((unit / fps).round() as u32).max(1).to_be_bytes());
    }
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&head)?;
    file.flush()
}

fn muxer_error(path: &Path, error: MuxerError) -> VideoError {
    match error {
        MuxerError::Io(e) => VideoError::io(path, e),
        e => VideoError::encode(path, e),
    }
}
