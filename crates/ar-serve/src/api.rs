//! The routes.

use std::sync::Arc;

use ar_model::ModelConfig;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::{ApiError, json};
use crate::metrics::Metrics;
use crate::options::VideoOptions;
use crate::upload::{self, Kind};
use crate::videos::Videos;
use crate::{Token, download, events, limits, openapi, pages};

/// State shared by all requests.
pub(crate) struct Shared {
    pub token: Token,
    pub model: ModelConfig,
    /// Pixels of a frame.
    pub size: usize,
    pub videos: Arc<Videos>,
    pub metrics: Arc<Metrics>,
    pub uploads: Semaphore,
    pub downloads: Arc<Semaphore>,
}

type Shares = State<Arc<Shared>>;

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let secured = Router::new()
        .route("/v1/model", get(model))
        .route("/v1/videos", get(list).post(create))
        .route("/v1/videos/{id}", get(status).delete(cancel))
        .route("/v1/videos/{id}/events", get(stream))
        .route("/v1/videos/{id}/video.mp4", get(mp4))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(shared.clone(), authorize));
    let document = openapi::document(&shared.model).to_string();
    let mut open = Router::new().route("/healthz", get(async || "ok\n")).route(
        "/v1/openapi.json",
        get(async move || ([(header::CONTENT_TYPE, "application/json")], document)),
    );
    for file in pages::FILES {
        open = open.route(file.path, get(async move || file.answer()));
    }
    open.merge(secured)
        .fallback(async || ApiError::NotFound("such page"))
        .layer(middleware::from_fn_with_state(shared.clone(), count))
        .layer(DefaultBodyLimit::max(limits::UPLOAD_BYTES))
        .with_state(shared)
}

/// Counts responses, and adds the headers that all of them have.
async fn count(State(shared): Shares, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = response.headers().get(header::ALLOW).cloned();
        response = json(
            StatusCode::METHOD_NOT_ALLOWED,
            &serde_json::json!({"error": "this path does not take that method"}),
        );
        response
            .headers_mut()
            .extend(allowed.map(|allowed| (header::ALLOW, allowed)));
    }
    shared.metrics.answer(response.status().as_u16());
    response
}

/// Lets only requests with the token pass.
async fn authorize(State(shared): Shares, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION);
    let given = match header.map(|value| value.to_str().unwrap_or_default()) {
        Some(value) => value.strip_prefix("Bearer ").unwrap_or_default(),
        None => parameter(request.uri().query(), "token").unwrap_or_default(),
    };
    if shared.token.is(given) {
        next.run(request).await
    } else {
        ApiError::Unauthorized.into_response()
    }
}

/// A parameter of a query; the values of our parameters need no escapes.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query.unwrap_or_default().split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The number of a video in a path.
fn number(id: &str) -> Result<u64, ApiError> {
    let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let id = id.parse().ok().filter(|_| is_number);
    id.ok_or_else(|| ApiError::BadRequest("the number of a video is a whole number".into()))
}

/// What a client needs to know about the model.
#[derive(Serialize)]
struct Model<'a> {
    name: &'a str,
    width: usize,
    height: usize,
    window: usize,
    unbounded: bool,
    /// The most steps, exclusive.
    timesteps: usize,
    classes: usize,
    class_names: &'a [String],
    steps: usize,
    ar_step: usize,
    guidance: f64,
    eta: f64,
    fps: f64,
    scale: usize,
    most_frames: usize,
}

async fn model(State(shared): Shares) -> Response {
    let Shared { model, size, .. } = &*shared;
    let frame_bytes = size * size * 3;
    let network = model.transformer.as_ref();
    json(
        StatusCode::OK,
        &Model {
            name: &model.name,
            width: *size,
            height: *size,
            window: network.map_or(0, |network| network.num_frames),
            unbounded: network.is_some_and(|network| network.is_unbounded()),
            timesteps: model.diffusion.schedule.timesteps,
            classes: model.conditioning.classes,
            class_names: &model.conditioning.class_names,
            steps: model.sampling.steps,
            ar_step: model.sampling.ar_step,
            guidance: model.sampling.guidance,
            eta: model.sampling.eta,
            fps: model.sampling.fps,
            scale: model.sampling.scale,
            most_frames: limits::FRAMES.min(limits::VIDEO_BYTES / frame_bytes.max(1)),
        },
    )
}

async fn list(State(shared): Shares) -> Response {
    let videos = shared.videos.list();
    json(StatusCode::OK, &serde_json::json!({ "videos": videos }))
}

async fn create(State(shared): Shares, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match read(&shared, &parts.headers, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn read(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<Response, ApiError> {
    let kind = Kind::of(headers)?;
    let (options, prefix) = match kind {
        Kind::Json => (upload::read_json(body).await?, None),
        Kind::Multipart => {
            let place = shared.uploads.try_acquire();
            let _place = place.map_err(|_| ApiError::Busy("all places for uploads are taken"))?;
            let mut request = Request::new(body);
            *request.method_mut() = Method::POST;
            *request.headers_mut() = headers.clone();
            let form = upload::read_form(request).await?;
            let prefix = match form.prefix {
                Some(file) => Some(decode(shared, &form.options, file).await?),
                None => None,
            };
            (form.options, prefix)
        }
    };
    let request = options.resolve(&shared.model, prefix)?;
    let video = shared.videos.add(request, shared.size)?;
    let location = format!("/v1/videos/{}", video.id);
    let mut response = json(StatusCode::CREATED, &video.status());
    let location = HeaderValue::try_from(location).expect("a path of digits");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The frames of an uploaded prefix.
async fn decode(
    shared: &Shared,
    options: &VideoOptions,
    file: tempfile::NamedTempFile,
) -> Result<Vec<ar_video::Frame>, ApiError> {
    let network = shared.model.transformer.as_ref();
    // A new frame sees this many frames before it.
    let most = network.map_or(1, |network| network.num_frames.saturating_sub(1).max(1));
    if let Some(asked) = options
        .prefix_frames
        .filter(|asked| !(1..=most).contains(asked))
    {
        return Err(ApiError::Unprocessable(format!(
            "`prefix_frames` is {asked}, but a new frame sees at most {most} frames before it"
        )));
    }
    upload::decode(file, options.prefix_frames, most, shared.size).await
}

async fn status(State(shared): Shares, Path(id): Path<String>) -> Result<Response, ApiError> {
    let video = shared.videos.get(number(&id)?)?;
    Ok(json(StatusCode::OK, &video.status()))
}

async fn cancel(State(shared): Shares, Path(id): Path<String>) -> Result<Response, ApiError> {
    let video = shared.videos.get(number(&id)?)?;
    video.cancel();
    // Waits for the current iteration, which takes milliseconds, so that the response has the final
    // state of the video.
    let mut changes = video.subscribe();
    let ended = async {
        while !video.phase().is_ended() {
            if changes.changed().await.is_err() {
                break;
            }
        }
    };
    let _ = timeout(limits::STOP_TIME, ended).await;
    Ok(json(StatusCode::OK, &video.status()))
}

async fn stream(
    State(shared): Shares,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let with_previews = match parameter(query.as_deref(), "previews") {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(ApiError::BadRequest("`previews` is 0 or 1".into())),
    };
    let next = match headers.get("last-event-id") {
        None => 0,
        Some(value) => {
            let last = value
                .to_str()
                .ok()
                .and_then(|last| last.parse::<u32>().ok());
            let wrong = || ApiError::BadRequest("`Last-Event-ID` is the number of a frame".into());
            last.ok_or_else(wrong)? as usize + 1
        }
    };
    let video = shared.videos.get(number(&id)?)?;
    let body = events::stream(video.watch(with_previews), next);
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

async fn mp4(State(shared): Shares, Path(id): Path<String>) -> Result<Response, ApiError> {
    let video = shared.videos.get(number(&id)?)?;
    let place = shared.downloads.clone().try_acquire_owned();
    let place = place.map_err(|_| ApiError::Busy("all places for downloads are taken"))?;
    download::mp4(video.id, video.frames(), &video.options, place).await
}

async fn metrics(State(shared): Shares) -> Response {
    let text = shared.metrics.text(&shared.videos);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
