//! Uploads: options, and a video or an image to continue.

use std::collections::VecDeque;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ar_video::{Ffmpeg, Frame, VideoError, VideoReader, square_crop};
use axum::body::{Body, to_bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, StatusCode, header};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::limits;
use crate::options::VideoOptions;

/// The contents of an upload.
pub(crate) struct Upload {
    pub options: VideoOptions,
    pub prefix: Option<NamedTempFile>,
}

/// The kinds of bodies.
pub(crate) enum Kind {
    Json,
    Multipart,
}

impl Kind {
    /// # Errors
    /// 415 for any other, 413 if its declared size is too large.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let kind = match kind.to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "multipart/form-data" => Self::Multipart,
            _ => return Err(ApiError::MediaType),
        };
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > kind.limit() as u64) {
            return Err(kind.too_large());
        }
        Ok(kind)
    }

    fn limit(&self) -> usize {
        match self {
            Self::Json => limits::JSON_BYTES,
            Self::Multipart => limits::UPLOAD_BYTES,
        }
    }

    fn too_large(&self) -> ApiError {
        let what = match self {
            Self::Json => "the body",
            Self::Multipart => "the upload",
        };
        let limit = self.limit();
        ApiError::TooLarge { what, limit }
    }
}

/// Options as JSON.
pub(crate) async fn read_json(body: Body) -> Result<VideoOptions, ApiError> {
    let bytes = timeout(limits::BODY_TIME, to_bytes(body, limits::JSON_BYTES));
    let bytes = bytes.await.map_err(|_| ApiError::Timeout("the body"))?;
    let bytes = bytes.map_err(|error| {
        let source = std::error::Error::source(&error);
        let is_length = source.is_some_and(|source| source.to_string().contains("length limit"));
        if is_length {
            Kind::Json.too_large()
        } else {
            ApiError::BadRequest("the body ended early".into())
        }
    })?;
    VideoOptions::parse(&bytes)
}

/// A form with the parts `options`, JSON, and `prefix`, a file. `request` has a limit on its body.
pub(crate) async fn read_form(request: Request) -> Result<Upload, ApiError> {
    let whole = timeout(limits::UPLOAD_TIME, async {
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|error| ApiError::BadRequest(error.body_text()))?;
        let mut upload = Upload {
            options: VideoOptions::default(),
            prefix: None,
        };
        let mut has_options = false;
        while let Some(mut field) = in_time(form.next_field()).await? {
            match field.name() {
                Some("options") if !has_options => {
                    has_options = true;
                    upload.options = VideoOptions::parse(&read_text(&mut field).await?)?;
                }
                Some("prefix") if upload.prefix.is_none() => {
                    upload.prefix = Some(save(&mut field).await?);
                }
                name => {
                    let name = name
                        .unwrap_or_default()
                        .chars()
                        .take(40)
                        .collect::<String>();
                    return Err(ApiError::Unprocessable(format!(
                        "the form has a part `{name}`, but takes `options` and `prefix`, each once"
                    )));
                }
            }
        }
        Ok(upload)
    });
    whole.await.map_err(|_| ApiError::Timeout("the upload"))?
}

async fn in_time<T>(piece: impl Future<Output = Result<T, MultipartError>>) -> Result<T, ApiError> {
    let piece = timeout(limits::BODY_TIME, piece).await;
    let piece = piece.map_err(|_| ApiError::Timeout("the upload"))?;
    piece.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Kind::Multipart.too_large(),
        _ => ApiError::BadRequest(error.body_text()),
    })
}

async fn read_text(field: &mut Field<'_>) -> Result<Vec<u8>, ApiError> {
    let mut text = Vec::new();
    while let Some(piece) = in_time(field.chunk()).await? {
        text.extend_from_slice(&piece);
        if text.len() > limits::JSON_BYTES {
            return Err(ApiError::TooLarge {
                what: "the part `options`",
                limit: limits::JSON_BYTES,
            });
        }
    }
    Ok(text)
}

async fn save(field: &mut Field<'_>) -> Result<NamedTempFile, ApiError> {
    let failed =
        |error: std::io::Error| ApiError::Internal(format!("cannot keep the upload: {error}"));
    let mut file = NamedTempFile::new().map_err(failed)?;
    while let Some(piece) = in_time(field.chunk()).await? {
        // Pieces have a few kilobytes, and are buffered by the system.
        file.write_all(&piece).map_err(failed)?;
    }
    Ok(file)
}

/// The last frames of an uploaded video, in the size of the model.
///
/// # Errors
/// 422 if it is not a video, takes too long to decode, or has fewer frames than requested.
pub(crate) async fn decode(
    file: NamedTempFile,
    asked: Option<usize>,
    most: usize,
    size: usize,
) -> Result<Vec<Frame>, ApiError> {
    let interrupt = Interrupting(Arc::default());
    let flag = interrupt.0.clone();
    let work = move || {
        let frames = last_frames(file.path(), asked.unwrap_or(most), size, flag);
        frames.map_err(|error| without_path(&error, file.path()))
    };
    let frames = timeout(limits::PREFIX_TIME, spawn_blocking(work)).await;
    // When it is dropped, the interrupt ends any work in progress.
    let frames = frames.map_err(|_| {
        let seconds = limits::PREFIX_TIME.as_secs();
        ApiError::Unprocessable(format!("the prefix takes more than {seconds} s to decode"))
    })?;
    let frames = frames.map_err(|_| ApiError::Internal("the decoder has a bug".into()))??;
    match asked {
        Some(asked) if frames.len() < asked => Err(ApiError::Unprocessable(format!(
            "`prefix_frames` is {asked}, and the prefix has {} frames",
            frames.len()
        ))),
        _ => Ok(frames),
    }
}

/// Ends the reading of a video when it is dropped.
struct Interrupting(Arc<AtomicBool>);

impl Drop for Interrupting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn last_frames(
    path: &Path,
    most: usize,
    size: usize,
    interrupt: Arc<AtomicBool>,
) -> Result<Vec<Frame>, VideoError> {
    let start = Instant::now();
    let ffmpeg = Ffmpeg::from_env().with_interrupt(interrupt.clone());
    let mut last = VecDeque::new();
    for frame in VideoReader::open_with(path, &ffmpeg)? {
        if last.len() == most {
            last.pop_front();
        }
        last.push_back(square_crop(&frame?, size));
        if interrupt.load(Ordering::Relaxed) || start.elapsed() > limits::PREFIX_TIME {
            break;
        }
    }
    Ok(last.into())
}

/// The message without the name of the temporary file.
fn without_path(error: &VideoError, path: &Path) -> ApiError {
    let message = error.to_string();
    ApiError::Unprocessable(message.replace(&path.display().to_string(), "the prefix"))
}
