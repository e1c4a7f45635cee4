//! From latents to videos, on a thread of its own: frames are decoded and encoded while later ones
//! are denoised.

use std::mem;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ar_data::to_frames;
use ar_model::VideoModel;
use ar_video::{Frame, VideoWriter};
use burn::tensor::{Device, Tensor, TensorData};

use crate::report::timed;

/// Frames that may wait for the thread: its queue is all that grows when it is the slower one.
const QUEUE: usize = 8;

/// A batch of videos to write.
pub struct Videos<'a> {
    pub model: &'a VideoModel,
    pub device: &'a Device,
    /// One for each video.
    pub writers: Vec<VideoWriter>,
    /// Frames that a temporal decoder sees together.
    pub window: usize,
    /// The frames that all videos begin with, written as they are.
    pub prefix: &'a [Frame],
    /// Their latents, `[batch, frames, tokens, channels]`.
    pub prefix_latents: Option<Tensor<4>>,
    /// Tokens and channels of a frame's latent.
    pub latent: [usize; 2],
}

/// What writing took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Time in the VAE.
    pub decode: Duration,
    /// Time in the video encoder.
    pub encode: Duration,
    /// When the first sampled frame was with the encoder.
    pub first_frame: Option<Instant>,
}

enum Work {
    /// The next latent of every video, `[batch, 1, tokens, channels]`, flat. It crosses over as
    /// plain values, which no backend minds.
    Frame(Vec<f32>),
    /// There is nothing more: complete the files.
    Finish,
}

/// Hands latents to the thread that makes videos of them. Dropped before [`VideoSink::finish`], it
/// leaves no files.
pub struct VideoSink {
    /// None once nothing more comes.
    work: Option<SyncSender<Work>>,
    /// None once its result is taken.
    worker: Option<JoinHandle<anyhow::Result<Written>>>,
}

impl VideoSink {
    /// Starts the thread.
    pub fn start(videos: Videos<'_>) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let prefix = videos.prefix.to_vec();
        let worker = Worker::new(videos);
        Self {
            work: Some(sender),
            worker: Some(thread::spawn(move || worker.run(&prefix, receiver))),
        }
    }

    /// Takes the next latent of every video, `[batch, 1, tokens, channels]`, and waits while too
    /// many are on their way.
    ///
    /// # Errors
    /// If an earlier one could not be written.
    pub fn write(&mut self, latent: Vec<f32>) -> anyhow::Result<()> {
        self.send(Work::Frame(latent)).map(drop)
    }

    /// Completes the videos; if no frame was sampled there are none.
    ///
    /// # Errors
    /// If one of them could not be written.
    pub fn finish(mut self) -> anyhow::Result<Written> {
        match self.send(Work::Finish)? {
            Some(written) => Ok(written),
            None => self.join(),
        }
    }

    /// The result, where the thread has ended already.
    fn send(&mut self, work: Work) -> anyhow::Result<Option<Written>> {
        let sender = self.work.as_ref();
        match sender.is_some_and(|sender| sender.send(work).is_ok()) {
            true => Ok(None),
            false => self.join().map(Some),
        }
    }

    fn join(&mut self) -> anyhow::Result<Written> {
        self.work = None;
        let worker = self.worker.take().expect("joined once");
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for VideoSink {
    fn drop(&mut self) {
        self.work = None;
        if let Some(worker) = self.worker.take() {
            // Its temporary files are gone before the process is. Whoever drops it has an error of
            // its own to tell.
            let _ = worker.join();
        }
    }
}

struct Worker {
    model: VideoModel,
    device: Device,
    writers: Vec<VideoWriter>,
    latent: [usize; 2],
    /// Frames that are decoded together.
    chunk: usize,
    /// Latents that wait for their chunk, `[batch, 1, tokens, channels]`.
    pending: Vec<Tensor<4>>,
    /// How many of them are of the prefix: decoded for the sake of the others.
    given: usize,
    written: Written,
}

impl Worker {
    fn new(videos: Videos<'_>) -> Self {
        // A temporal decoder attends between frames: it gets clips of the length it was trained on.
        let vae = videos.model.config().vae.as_ref();
        let chunk = match vae.is_some_and(|vae| vae.is_temporal()) {
            true => videos.window,
            false => 1,
        };
        let given = videos.prefix.len() % chunk;
        let first = videos.prefix.len() - given;
        let pending = videos.prefix_latents.map_or_else(Vec::new, |latents| {
            let frame = |index| latents.clone().narrow(1, first + index, 1);
            (0..given).map(frame).collect()
        });
        Self {
            model: videos.model.clone(),
            device: videos.device.clone(),
            writers: videos.writers,
            latent: videos.latent,
            chunk,
            pending,
            given,
            written: Written::default(),
        }
    }

    fn run(mut self, prefix: &[Frame], work: Receiver<Work>) -> anyhow::Result<Written> {
        let mut sampled = false;
        timed(&mut self.written.encode, || {
            for writer in &mut self.writers {
                prefix.iter().try_for_each(|frame| writer.write(frame))?;
            }
            anyhow::Ok(())
        })?;
        for work in work {
            match work {
                Work::Frame(latent) => {
                    sampled = true;
                    self.take(latent)?;
                }
                Work::Finish if sampled => return self.finish(),
                Work::Finish => break,
            }
        }
        Ok(self.written)
    }

    fn take(&mut self, latent: Vec<f32>) -> anyhow::Result<()> {
        let [tokens, channels] = self.latent;
        let shape = [self.writers.len(), 1, tokens, channels];
        let latent = TensorData::new(latent, shape);
        self.pending.push(Tensor::from_data(latent, &self.device));
        if self.pending.len() == self.chunk {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Written> {
        self.flush()?;
        for writer in self.writers {
            timed(&mut self.written.encode, || writer.finish())?;
        }
        Ok(self.written)
    }

    /// Decodes the pending latents and writes the frames that are not given.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let latents = Tensor::cat(mem::take(&mut self.pending), 1);
        let given = mem::take(&mut self.given);
        let length = latents.dims()[1];
        let frames = timed(&mut self.written.decode, || {
            let pixels = self.model.decode(latents)?;
            anyhow::Ok(to_frames(pixels.flatten(0, 1)))
        })?;
        timed(&mut self.written.encode, || {
            for (writer, frames) in self.writers.iter_mut().zip(frames.chunks_exact(length)) {
                let sampled = &frames[given..];
                sampled.iter().try_for_each(|frame| writer.write(frame))?;
            }
            anyhow::Ok(())
        })?;
        self.written.first_frame.get_or_insert_with(Instant::now);
        Ok(())
    }
}
