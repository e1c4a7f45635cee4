use std::io;
use std::net::SocketAddr;

use ar_pipeline::PipelineError;
use ar_video::VideoError;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A server that cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The server cannot listen on the address.
    #[error("cannot listen at {address}: {source}; choose another `port` (0 is any that is free)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error from the system.
        source: io::Error,
    },
    /// The token is too short to keep anybody out.
    #[error("the token has {found} characters; it must have at least {least}, of A-Z a-z 0-9 - _")]
    Token {
        /// Its length.
        found: usize,
        /// The shortest valid length.
        least: usize,
    },
    /// The system has no threads, timers or random numbers left.
    #[error("cannot start the server: {0}")]
    System(#[source] io::Error),
    /// The model cannot make videos.
    #[error(transparent)]
    Model(#[from] PipelineError),
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("give the token that the program printed, as `Authorization: Bearer TOKEN`")]
    Unauthorized,
    #[error("there is no {0}")]
    NotFound(&'static str),
    #[error(
        "there is no video {id}; the last {} ended videos are kept",
        crate::limits::KEPT_VIDEOS
    )]
    NoVideo { id: u64 },
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Unprocessable(String),
    #[error("a body is application/json or multipart/form-data")]
    MediaType,
    #[error("{what} is larger than the {limit} bytes that are taken")]
    TooLarge { what: &'static str, limit: usize },
    #[error("{0} did not arrive in time")]
    Timeout(&'static str),
    #[error("video {id} has no finished frame yet")]
    NoFrame { id: u64 },
    #[error("{0}; try again later")]
    Busy(&'static str),
    #[error("the server is stopping")]
    Stopping,
    #[error("{0}")]
    Internal(String),
}

/// The body of an error response.
#[derive(Serialize)]
struct Message {
    error: String,
}

impl ApiError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) | Self::NoVideo { .. } => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NoFrame { .. } => StatusCode::CONFLICT,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<PipelineError> for ApiError {
    fn from(error: PipelineError) -> Self {
        Self::Unprocessable(error.to_string())
    }
}

impl From<VideoError> for ApiError {
    fn from(error: VideoError) -> Self {
        Self::Unprocessable(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let extra: Option<(HeaderName, HeaderValue)> = match self {
            Self::Unauthorized => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"ar-serve\""),
            )),
            Self::Busy(_) | Self::Stopping => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("2")))
            }
            _ => None,
        };
        let mut response = json(
            status,
            &Message {
                error: self.to_string(),
            },
        );
        response.headers_mut().extend(extra);
        response
    }
}

/// A response in JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("plain structs are JSON");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
