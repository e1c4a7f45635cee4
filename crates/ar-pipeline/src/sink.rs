//! From latents to videos, on a separate thread: frames are decoded and encoded while later ones
//! are denoised.

use std::mem;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ar_video::{Frame, VideoWriter};
use burn::tensor::{Device, Tensor, TensorData};

use crate::chunks::ChunkDecoder;
use crate::{GeneratedFrame, PipelineError, timed};

/// Frames that may wait for the thread. If it is slower than sampling, only its queue grows.
const QUEUE: usize = 8;

/// A batch of videos to write.
pub(crate) struct Videos {
    pub decoder: ChunkDecoder,
    pub device: Device,
    /// For each video, a writer and the frames that it starts with, which are written as they are.
    pub writers: Vec<(VideoWriter, Vec<Frame>)>,
    /// Tokens and channels of a frame's latent.
    pub latent: [usize; 2],
    /// The number of the first video.
    pub first: usize,
    /// Another receiver of frames, as far as it has room.
    pub frames: Option<SyncSender<GeneratedFrame>>,
}

/// Times of writing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Time in the VAE.
    pub decode: Duration,
    /// Time in the video encoder.
    pub encode: Duration,
    /// When the first sampled frame was encoded.
    pub first_frame: Option<Instant>,
}

enum Work {
    /// The next latent of every video, `[batch, 1, tokens, channels]`, flattened. It is sent as
    /// plain values, which works with every backend.
    Frame(Vec<f32>),
    /// There are no more latents: complete the files.
    Finish,
}

/// Sends latents to the thread that makes videos from them. If it is dropped before
/// [`VideoSink::finish`], it leaves no files.
pub(crate) struct VideoSink {
    /// None when there are no more latents.
    work: Option<SyncSender<Work>>,
    /// None when its result has been taken.
    worker: Option<JoinHandle<Result<Written, PipelineError>>>,
}

impl VideoSink {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(crate) fn start(videos: Videos) -> Result<Self, PipelineError> {
        let (sender, receiver) = sync_channel(QUEUE);
        let worker = thread::Builder::new().spawn(move || Worker::new(videos).run(receiver));
        Ok(Self {
            work: Some(sender),
            worker: Some(worker.map_err(PipelineError::Thread)?),
        })
    }

    /// Sends the next latent of every video, `[batch, 1, tokens, channels]`, and waits while the
    /// queue is full.
    ///
    /// # Errors
    /// If an earlier one could not be written.
    pub(crate) fn write(&mut self, latent: Vec<f32>) -> Result<(), PipelineError> {
        self.send(Work::Frame(latent)).map(drop)
    }

    /// Completes the videos; if no frame was sampled, there are none.
    ///
    /// # Errors
    /// If one of them could not be written.
    pub(crate) fn finish(mut self) -> Result<Written, PipelineError> {
        match self.send(Work::Finish)? {
            Some(written) => Ok(written),
            None => self.join(),
        }
    }

    /// The result, if the thread has already ended.
    fn send(&mut self, work: Work) -> Result<Option<Written>, PipelineError> {
        let sender = self.work.as_ref();
        if sender.is_some_and(|sender| sender.send(work).is_ok()) {
            Ok(None)
        } else {
            self.join().map(Some)
        }
    }

    fn join(&mut self) -> Result<Written, PipelineError> {
        self.work = None;
        let worker = self.worker.take().expect("joined once");
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for VideoSink {
    fn drop(&mut self) {
        self.work = None;
        if let Some(worker) = self.worker.take() {
            // So that its temporary files are removed before the process ends. Whoever drops it has
            // its own error to report.
            let _ = worker.join();
        }
    }
}

struct Worker {
    decoder: ChunkDecoder,
    device: Device,
    writers: Vec<(VideoWriter, Vec<Frame>)>,
    latent: [usize; 2],
    first: usize,
    frames: Option<SyncSender<GeneratedFrame>>,
    /// The position of the next frame.
    next: usize,
    written: Written,
}

impl Worker {
    fn new(videos: Videos) -> Self {
        Self {
            decoder: videos.decoder,
            device: videos.device,
            writers: videos.writers,
            latent: videos.latent,
            first: videos.first,
            frames: videos.frames,
            next: 0,
            written: Written::default(),
        }
    }

    fn run(mut self, work: Receiver<Work>) -> Result<Written, PipelineError> {
        let mut sampled = false;
        let prefixes: Vec<Vec<Frame>> = self
            .writers
            .iter_mut()
            .map(|(_, prefix)| mem::take(prefix))
            .collect();
        self.encode(&prefixes)?;
        for work in work {
            match work {
                Work::Frame(latent) => {
                    sampled = true;
                    let latent = self.tensor(latent);
                    let frames = timed(&mut self.written.decode, || self.decoder.push(latent))?;
                    self.write(&frames)?;
                }
                Work::Finish if sampled => return self.finish(),
                Work::Finish => break,
            }
        }
        Ok(self.written)
    }

    fn tensor(&self, latent: Vec<f32>) -> Tensor<4> {
        let [tokens, channels] = self.latent;
        let shape = [self.writers.len(), 1, tokens, channels];
        Tensor::from_data(TensorData::new(latent, shape), &self.device)
    }

    fn finish(mut self) -> Result<Written, PipelineError> {
        let frames = timed(&mut self.written.decode, || self.decoder.flush())?;
        self.write(&frames)?;
        for (writer, _) in self.writers {
            timed(&mut self.written.encode, || writer.finish())?;
        }
        Ok(self.written)
    }

    /// Writes the next sampled frames of each video, if there are any.
    fn write(&mut self, videos: &[Vec<Frame>]) -> Result<(), PipelineError> {
        self.encode(videos)?;
        if !videos.is_empty() {
            self.written.first_frame.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn encode(&mut self, videos: &[Vec<Frame>]) -> Result<(), PipelineError> {
        timed(&mut self.written.encode, || {
            for ((writer, _), frames) in self.writers.iter_mut().zip(videos) {
                frames.iter().try_for_each(|frame| writer.write(frame))?;
            }
            Ok::<_, PipelineError>(())
        })?;
        let length = videos.first().map_or(0, Vec::len);
        if let Some(sender) = &self.frames {
            for place in 0..length {
                for (video, frames) in (self.first..).zip(videos) {
                    // The receiver may be slow, or may have seen enough.
                    let _ = sender.try_send(GeneratedFrame {
                        video,
                        index: self.next + place,
                        frame: frames[place].clone(),
                    });
                }
            }
        }
        self.next += length;
        Ok(())
    }
}
