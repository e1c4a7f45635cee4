//! H.264 in MP4, muxed by muxide with the index at the start (fast start).

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use muxide::api::{Muxer, MuxerBuilder, MuxerError, VideoCodec};

use super::encoder::Encoder;
use super::h264::H264Encoder;
use super::output::OutputFile;
use crate::{Frame, VideoError};

/// Chunk offsets and the size of the data have 32 bits; some room is left for the index.
const MAX_BYTES: u64 = u32::MAX as u64 - (1 << 26);

pub(super) struct Mp4Encoder {
    path: PathBuf,
    fps: f64,
    /// None before the first frame, which determines the size.
    output: Option<OutputFile>,
    stream: Option<Stream>,
}

struct Stream {
    encoder: H264Encoder,
    muxer: Muxer<OutputFile>,
    bytes: u64,
}

impl Mp4Encoder {
    pub(super) fn create(path: &Path, fps: f64) -> Result<Self, VideoError> {
        let output = Some(OutputFile::create(path)?);
        Ok(Self {
            path: path.to_owned(),
            fps,
            output,
            stream: None,
        })
    }

    fn start(&self, frame: &Frame, output: OutputFile) -> Result<Stream, VideoError> {
        let encoder = H264Encoder::new(&self.path, self.fps, frame)?;
        let [width, height] = encoder.size();
        let muxer = MuxerBuilder::new(output)
            .video(VideoCodec::H264, width, height, self.fps)
            .with_fast_start(true)
            .build()
            .map_err(|e| muxer_error(&self.path, e))?;
        Ok(Stream {
            encoder,
            muxer,
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
        let time = stream.encoder.frames() as f64 / self.fps;
        let encoded = stream.encoder.encode(frame)?;
        stream.bytes += encoded.bytes.len() as u64;
        if stream.bytes > MAX_BYTES {
            return Err(VideoError::encode(
                &self.path,
                "an MP4 file holds at most 4 GiB",
            ));
        }
        stream
            .muxer
            .write_video(time, &encoded.bytes, encoded.is_key)
            .map_err(|e| muxer_error(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<(), VideoError> {
        let mut stream = self.stream.expect("started with the first frame");
        stream
            .muxer
            .finish_in_place()
            .map_err(|e| muxer_error(&self.path, e))?;
        let mut output = stream.muxer.into_writer();
        if stream.encoder.frames() == 1 {
            set_only_duration(&mut output, self.fps).map_err(|e| VideoError::io(&self.path, e))?;
        }
        output.persist()
    }
}

/// Writes `1 / fps` as the duration of the only frame. The muxer takes the duration of a frame from
/// the next one, and writes 1/90000 s if there is none, which players do not show at all.
fn set_only_duration(file: &mut (impl Read + Write + Seek), fps: f64) -> io::Result<()> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(4096).read_to_end(&mut head)?;
    // The offset of the duration after the name of its box, and its unit.
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
