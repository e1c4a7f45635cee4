//! Connections, with limits on their number and on the time of each.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};

use crate::limits;
use crate::metrics::Metrics;
use crate::worker::stopped;

/// The response to a connection beyond the limit.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\n\
    content-length: 51\r\n\
    retry-after: 2\r\n\
    connection: close\r\n\r\n\
    {\"error\":\"too many connections; try again later\"}\r\n";
/// Refused connections that get a response at the same time; more are just closed.
const REFUSED: usize = 256;
/// Time for a refused client to read the response.
const REFUSAL_TIME: Duration = Duration::from_millis(500);
/// Pause after the system refused a connection, for example for lack of open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop` is set, and then lets open ones end.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let refusals = Arc::new(Semaphore::new(REFUSED));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(stop.clone()) => break,
        };
        let Ok((stream, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                metrics.connections.fetch_add(1, Ordering::Relaxed);
                let (router, stop, metrics) = (router.clone(), stop.clone(), metrics.clone());
                tokio::spawn(async move {
                    answer(stream, router, stop).await;
                    metrics.connections.fetch_sub(1, Ordering::Relaxed);
                    drop(place);
                });
            }
            Err(_) => {
                metrics.refuse();
                if let Ok(place) = refusals.clone().try_acquire_owned() {
                    tokio::spawn(async move {
                        let _ = timeout(REFUSAL_TIME, refuse(stream)).await;
                        drop(place);
                    });
                }
            }
        }
    }
    drop(listener);
    let _ = timeout(
        limits::STOP_TIME,
        places.acquire_many(limits::CONNECTIONS as u32),
    )
    .await;
}

/// Serves the requests of one connection.
async fn answer(stream: TcpStream, router: Router, stop: watch::Receiver<bool>) {
    let io = TokioIo::new(Patient::new(stream));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_TIME)
        .max_headers(limits::HEADERS)
        .max_buf_size(limits::BUFFER_BYTES)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut stop = pin!(stopped(stop));
    let mut is_stopping = false;
    let ended = poll_fn(|context| {
        if !is_stopping && stop.as_mut().poll(context).is_ready() {
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(context)
    })
    .await;
    if ended.is_ok() {
        // If it were closed while the client is still sending, the connection would be reset, and
        // the client could not read why its upload was refused.
        let mut stream = connection.into_parts().io.into_inner().stream;
        let _ = timeout(limits::LINGER, linger(&mut stream)).await;
    }
}

async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(REFUSAL).await?;
    linger(&mut stream).await
}

/// Ends the response, and discards what the client still sends.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut dropped = [0; 16 << 10];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

/// A connection that fails if its reader has read nothing for a long time.
struct Patient {
    stream: TcpStream,
    /// The deadline of a waiting write, if there is one.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            deadline: None,
        }
    }

    /// The result of a write, or an error if it has waited too long.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.deadline = None;
            return result;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(limits::STALLED_TIME)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(REFUSAL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
    }
}
