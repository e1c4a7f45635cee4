//! A video as an MP4 file.

use std::io::{Read, Seek};
use std::sync::Arc;

use ar_video::{Enlargement, Frame, VideoError, VideoFormat, VideoWriter};
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::spawn_blocking;

use crate::error::ApiError;
use crate::events::Pieces;
use crate::options::ChosenOptions;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;
/// Pieces that may wait for the client.
const AHEAD: usize = 2;

/// The response with the file. It holds `place` until the file has been read.
///
/// # Errors
/// 409 if no frame is finished.
pub(crate) async fn mp4(
    id: u64,
    frames: Vec<Arc<Frame>>,
    options: &ChosenOptions,
    place: OwnedSemaphorePermit,
) -> Result<Response, ApiError> {
    if frames.is_empty() {
        return Err(ApiError::NoFrame { id });
    }
    let (fps, factor) = (options.fps, options.scale);
    let encoded = spawn_blocking(move || encode(&frames, fps, factor)).await;
    let encoded = encoded.map_err(|_| ApiError::Internal("the encoder has a bug".into()))?;
    let (mut file, length) = encoded.map_err(|error| ApiError::Internal(error.to_string()))?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            let is_end = !read.is_ok_and(|read| read > 0);
            if is_end || sender.blocking_send(Bytes::from(piece)).is_err() {
                break;
            }
        }
        drop(place);
    });
    let headers = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"ar-diffusion-{id}.mp4\""),
        ),
    ];
    Ok((headers, Body::new(Pieces(receiver))).into_response())
}

/// An unnamed file, and its length.
fn encode(
    frames: &[Arc<Frame>],
    fps: f64,
    factor: usize,
) -> Result<(std::fs::File, u64), VideoError> {
    let io = |error| VideoError::Io {
        path: "video.mp4".into(),
        source: error,
    };
    let folder = tempfile::tempdir().map_err(io)?;
    let path = folder.path().join("video.mp4");
    let mut writer = VideoWriter::create(&path, VideoFormat::Mp4, fps)?.enlarging(Enlargement {
        factor,
        ..Enlargement::NONE
    });
    for frame in frames {
        writer.write(frame)?;
    }
    writer.finish()?;
    let mut file = std::fs::File::open(&path).map_err(io)?;
    let length = file.seek(std::io::SeekFrom::End(0)).map_err(io)?;
    file.rewind().map_err(io)?;
    Ok((file, length))
}
