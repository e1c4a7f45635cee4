//! Fragmented MP4: a header without an index, then every frame in its own fragment. It plays while
//! it is written, and as far as it was written.
//!
//! The header is muxide's. Its fragments are not used, because it takes the duration of a frame
//! from the next one, and 1/30 s for a single frame.

use std::io::Write;
use std::path::{Path, PathBuf};

use muxide::fragmented::{FragmentConfig, FragmentedMuxer};

use super::encoder::Encoder;
use super::h264::{H264Encoder, H264Frame};
use crate::{Frame, VideoError};

/// Units of time in a second.
const TIMESCALE: u32 = 90_000;
/// Types of NAL units: the parameter sets, which are in the header.
const SPS: u8 = 7;
const PPS: u8 = 8;

pub(super) struct FragmentedMp4<W> {
    path: PathBuf,
    fps: f64,
    output: W,
    /// None before the first frame, which determines the size.
    encoder: Option<H264Encoder>,
}

impl<W> FragmentedMp4<W> {
    pub(super) fn new(path: &Path, output: W, fps: f64) -> Self {
        Self {
            path: path.to_owned(),
            fps,
            output,
            encoder: None,
        }
    }

    /// When a frame starts, in units of [`TIMESCALE`].
    fn time(&self, frame: u64) -> u64 {
        (frame as f64 * f64::from(TIMESCALE) / self.fps).round() as u64
    }

    /// The start of the stream; the first frame has the parameter sets.
    fn header(&self, size: [u32; 2], first: &H264Frame) -> Result<Vec<u8>, VideoError> {
        let failed = |message: String| VideoError::encode(&self.path, message);
        let units = first.nal_units();
        let parameters = |kind: u8| {
            let unit = units.iter().find(|unit| nal_type(unit) == kind);
            unit.map(|unit| unit.to_vec())
                .ok_or_else(|| failed("the first frame has no parameter sets".into()))
        };
        let config = FragmentConfig {
            sps: parameters(SPS)?,
            pps: parameters(PPS)?,
            ..FragmentConfig::new(size[0], size[1], TIMESCALE)
        };
        let mut muxer = FragmentedMuxer::new(config).map_err(|e| failed(e.to_string()))?;
        Ok(muxer.init_segment())
    }
}

impl<W: Write + Send> Encoder for FragmentedMp4<W> {
    fn write(&mut self, frame: &Frame) -> Result<(), VideoError> {
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => H264Encoder::new(&self.path, self.fps, frame)?,
        };
        let index = encoder.frames();
        let encoded = encoder.encode(frame)?;
        let mut bytes = match index {
            0 => self.header(encoder.size(), &encoded)?,
            _ => Vec::new(),
        };
        let start = self.time(index);
        bytes.extend(fragment(Sample {
            index,
            start,
            duration: self.time(index + 1) - start,
            is_key: encoded.is_key,
            data: length_prefixed(&encoded),
        }));
        self.encoder = Some(encoder);
        self.output
            .write_all(&bytes)
            .and_then(|()| self.output.flush())
            .map_err(|e| VideoError::io(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<(), VideoError> {
        Ok(())
    }
}

fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

/// A frame as MP4 stores it: with lengths instead of start codes, and parameter sets only in the
/// header.
fn length_prefixed(frame: &H264Frame) -> Vec<u8> {
    let units = frame.nal_units().into_iter();
    units
        .filter(|unit| ![SPS, PPS].contains(&nal_type(unit)))
        .flat_map(|unit| [&(unit.len() as u32).to_be_bytes(), unit].concat())
        .collect()
}

/// A frame of a fragment.
struct Sample {
    index: u64,
    start: u64,
    duration: u64,
    is_key: bool,
    data: Vec<u8>,
}

/// `moof` and `mdat` (ISO/IEC 14496-12, 8.8) of one frame.
fn fragment(sample: Sample) -> Vec<u8> {
    // The offset does not change the length of the box that it is in.
    let data_offset = movie_fragment(&sample, 0).len() as u32 + 8;
    let moof = movie_fragment(&sample, data_offset);
    [moof, mp4_box(b"mdat", &sample.data)].concat()
}

/// The data start `data_offset` bytes after the start of this box.
fn movie_fragment(sample: &Sample, data_offset: u32) -> Vec<u8> {
    // Independent of other frames; or dependent on others and not a sync sample.
    let flags: u32 = if sample.is_key {
        0x0200_0000
    } else {
        0x0101_0000
    };
    // The format counts fragments in 32 bits; players only check that the number increases.
    let sequence_number = sample.index as u32 + 1;
    let mfhd = full_box(b"mfhd", 0, &[sequence_number]);
    // Offsets count from the start of `moof`.
    let tfhd = full_box(b"tfhd", 0x02_0000, &[1]);
    let tfdt = full_box(
        b"tfdt",
        0x0100_0000,
        &[(sample.start >> 32) as u32, sample.start as u32],
    );
    // With the offset of the data, and the duration, size and flags of one sample.
    let trun = full_box(
        b"trun",
        0x0701,
        &[
            1,
            data_offset,
            sample.duration as u32,
            sample.data.len() as u32,
            flags,
        ],
    );
    let traf = mp4_box(b"traf", &[tfhd, tfdt, trun].concat());
    mp4_box(b"moof", &[mfhd, traf].concat())
}

fn mp4_box(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = content.len() as u32 + 8;
    [&size.to_be_bytes(), &name[..], content].concat()
}

/// A box with version and flags, and numbers of 32 bits.
fn full_box(name: &[u8; 4], version_and_flags: u32, values: &[u32]) -> Vec<u8> {
    let numbers = [version_and_flags]
        .into_iter()
        .chain(values.iter().copied());
    let content: Vec<u8> = numbers.flat_map(u32::to_be_bytes).collect();
    mp4_box(name, &content)
}
