//! A video as a stream of server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ar_video::{Frame, png_base64};
use axum::body::{Body, Bytes, HttpBody};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::limits;
use crate::video::{Previews, Watcher};

#[derive(Serialize)]
struct FrameEvent {
    index: usize,
    png: String,
}

#[derive(Serialize)]
struct PreviewEvent {
    iteration: usize,
    frames: Vec<PreviewFrame>,
}

#[derive(Serialize)]
struct PreviewFrame {
    index: usize,
    steps: usize,
    noise_level: f64,
    png: String,
}

#[derive(Serialize)]
struct ProgressEvent {
    iteration: usize,
    seconds_left: Option<f64>,
}

/// The events of a video, starting at frame `next`. They are made as they are read, so at most one
/// waits.
pub(crate) fn stream(watcher: Watcher, next: usize) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        // Ends with the video, or when nobody reads any more.
        let _ = Events {
            watcher,
            sender,
            next,
            previews: 0,
        }
        .send_all()
        .await;
    });
    Body::new(Pieces(receiver))
}

/// The reader has disconnected.
struct Gone;

struct Events {
    watcher: Watcher,
    sender: mpsc::Sender<Bytes>,
    /// The next frame.
    next: usize,
    /// The number of the last previews.
    previews: usize,
}

impl Events {
    async fn send_all(mut self) -> Result<(), Gone> {
        let video = self.watcher.video.clone();
        let mut changes = video.subscribe();
        let mut reported = (Instant::now(), 0);
        loop {
            changes.borrow_and_update();
            let news = video.news(self.next, self.previews);
            let is_nothing = news.frames.is_empty();
            for (index, frame) in news.frames {
                let png = png(frame).await;
                self.send("frame", Some(index), &FrameEvent { index, png })
                    .await?;
                self.next = index + 1;
                video.deliver(self.next);
            }
            if !is_nothing {
                continue;
            }
            if let Some(previews) = news.previews.filter(|_| self.watcher.with_previews) {
                self.previews = previews.number;
                self.send("preview", None, &preview(previews).await).await?;
                continue;
            }
            if news.is_ended {
                return self.send("end", None, &video.status()).await;
            }
            let (last, iteration) = reported;
            if last.elapsed() >= limits::PROGRESS_INTERVAL && iteration != news.iteration {
                reported = (Instant::now(), news.iteration);
                let progress = ProgressEvent {
                    iteration: news.iteration,
                    seconds_left: video.status().seconds_left,
                };
                self.send("progress", None, &progress).await?;
                continue;
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(limits::ALIVE_INTERVAL) => self.send_text(":\n\n".into()).await?,
                () = self.sender.closed() => return Err(Gone),
            }
        }
    }

    async fn send(
        &self,
        event: &str,
        id: Option<usize>,
        data: &impl Serialize,
    ) -> Result<(), Gone> {
        let data = serde_json::to_string(data).expect("plain structs are JSON");
        let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
        self.send_text(format!("event: {event}\n{id}data: {data}\n\n"))
            .await
    }

    async fn send_text(&self, text: String) -> Result<(), Gone> {
        self.sender.send(text.into()).await.map_err(|_| Gone)
    }
}

/// A frame as base64 of a PNG file.
async fn png(frame: Arc<Frame>) -> String {
    spawn_blocking(move || png_base64(&frame))
        .await
        .expect("a frame is a picture")
}

async fn preview(previews: Arc<Previews>) -> PreviewEvent {
    let encode = move || PreviewEvent {
        iteration: previews.iteration,
        frames: previews
            .frames
            .iter()
            .map(|preview| PreviewFrame {
                index: preview.index,
                steps: preview.steps,
                noise_level: preview.noise_level,
                png: png_base64(&preview.frame),
            })
            .collect(),
    };
    spawn_blocking(encode).await.expect("a frame is a picture")
}

/// A body that comes in pieces.
pub(crate) struct Pieces(pub mpsc::Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(hyper::body::Frame::data(piece))))
    }
}
