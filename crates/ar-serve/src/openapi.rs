//! The API as an OpenAPI 3.1 document, with its limits.

use ar_model::ModelConfig;
use serde_json::{Map, Value, json};

use crate::limits;

/// The document for a server with `model`.
pub(crate) fn document(model: &ModelConfig) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ar-serve",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Videos from an AR-Diffusion model",
            "description": "Every request except those for this document and `/healthz` needs the \
                token that the program printed, as `Authorization: Bearer TOKEN` or as the \
                parameter `token`. Errors are JSON: `{\"error\": \"what was wrong\"}`.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Options": options(model),
                "ChosenOptions": chosen_options(),
                "Video": video(),
                "Model": model_schema(),
                "Error": object(json!({"error": {"type": "string"}})),
            },
        },
    })
}

fn paths() -> Value {
    let id = json!({
        "name": "id", "in": "path", "required": true, "description": "The number of a video.",
        "schema": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
    });
    let a_video = || content("application/json", &reference("Video"));
    let create = json!({
        "summary": "Make a video",
        "description": format!(
            "It waits in a queue of {} videos. An endless or paced one is live: it is made at once, \
             with at most {} of them at a time, and waits for the clients that watch its events.",
            limits::QUEUE, limits::LIVE
        ),
        "operationId": "create",
        "requestBody": {"required": true, "content": {
            "application/json": {"schema": reference("Options"), "examples": {
                "short": {"value": {"frames": 4, "steps": 4, "ar_step": 2, "seed": 7}},
                "whole": {"value": {}},
            }},
            "multipart/form-data": {
                "schema": {"type": "object", "additionalProperties": false, "properties": {
                    "options": reference("Options"),
                    "prefix": {
                        "type": "string", "contentMediaType": "application/octet-stream",
                        "description": format!(
                            "A video or an image to continue: the video continues from its last \
                             frames. At most {} bytes.", limits::UPLOAD_BYTES
                        ),
                    },
                }},
                "encoding": {"options": {"contentType": "application/json"}},
            },
        }},
        "responses": responses(&[
            (201, "The video", Some(a_video())),
            (400, "The body is not JSON or not a form", None),
            (408, "The body did not arrive in time", None),
            (413, "The body is too large", None),
            (415, "The body is of another kind", None),
            (422, "The options do not fit the model, the server or each other", None),
            (429, "There is no room for another video or upload", None),
            (503, "The server is stopping", None),
        ]),
    });
    let events = json!({
        "summary": "Watch a video",
        "description": "Server-sent events. `frame` has the `index` of a finished frame and its \
            `png` in base64; `preview` has the frames in progress, each with its `index`, the \
            `steps` that it has taken, its `noise_level` from 1 down to 0 and its `png`; `progress` \
            has the `iteration` and `seconds_left`; `end` is the last and has the video. Frames \
            start with the first one that is kept, or after `Last-Event-ID`.",
        "operationId": "events",
        "parameters": [
            id,
            {"name": "previews", "in": "query", "description": "1 to get previews too.",
             "schema": {"type": "integer", "enum": [0, 1], "default": 0}},
            {"name": "Last-Event-ID", "in": "header",
             "description": "The number of the last frame that was seen.",
             "schema": {"type": "integer", "minimum": 0, "maximum": u32::MAX}},
        ],
        "responses": responses(&[
            (200, "The events", Some(content("text/event-stream", &event()))),
            (400, "A parameter is wrong", None),
            (404, "There is no such video", None),
        ]),
    });
    json!({
        "/v1/model": {"get": {
            "summary": "The model that makes the videos, and its default options",
            "operationId": "model",
            "responses": responses(&[
                (200, "The model", Some(content("application/json", &reference("Model")))),
            ]),
        }},
        "/v1/videos": {
            "get": {
                "summary": "All videos, the newest first",
                "description": format!(
                    "The last {} ended videos are kept, as long as their frames take at most {} bytes.",
                    limits::KEPT_VIDEOS, limits::KEPT_BYTES
                ),
                "operationId": "list",
                "responses": responses(&[(200, "The videos", Some(content(
                    "application/json",
                    &object(json!({"videos": {"type": "array", "items": reference("Video")}})),
                )))]),
            },
            "post": create,
        },
        "/v1/videos/{id}": {
            "get": {
                "summary": "The progress of a video",
                "operationId": "status",
                "parameters": [id],
                "responses": responses(&[
                    (200, "The video", Some(a_video())),
                    (400, "The number is invalid", None),
                    (404, "There is no such video", None),
                ]),
            },
            "delete": {
                "summary": "Cancel a video",
                "description": "Finished frames are kept. A video that has ended does not change.",
                "operationId": "cancel",
                "parameters": [id],
                "responses": responses(&[
                    (200, "The video", Some(a_video())),
                    (400, "The number is invalid", None),
                    (404, "There is no such video", None),
                ]),
            },
        },
        "/v1/videos/{id}/events": {"get": events},
        "/v1/videos/{id}/video.mp4": {"get": {
            "summary": "The finished frames of a video as an MP4 file",
            "description": format!(
                "For an endless video, its last {} frames, or fewer if they are large.",
                limits::ENDLESS_KEPT
            ),
            "operationId": "mp4",
            "parameters": [id],
            "responses": responses(&[
                (200, "The file", Some(content("video/mp4", &json!({
                    "type": "string", "contentMediaType": "video/mp4",
                })))),
                (400, "The number is invalid", None),
                (404, "There is no such video", None),
                (409, "No frame is finished yet", None),
                (429, "Too many files are being made", None),
            ]),
        }},
        "/metrics": {"get": {
            "summary": "Counts for Prometheus",
            "operationId": "metrics",
            "responses": responses(&[
                (200, "The counts", Some(content("text/plain", &json!({"type": "string"})))),
            ]),
        }},
        "/healthz": {"get": {
            "summary": "Whether the server answers",
            "operationId": "health",
            "security": [],
            "responses": {"200": {
                "description": "It does",
                "content": content("text/plain", &json!({"type": "string"})),
            }},
        }},
        "/v1/openapi.json": {"get": {
            "summary": "This document",
            "operationId": "openapi",
            "security": [],
            "responses": {"200": {
                "description": "The document",
                "content": content("application/json", &json!({"type": "object"})),
            }},
        }},
    })
}

/// Responses by status; those without a body are errors. 401 is added.
fn responses(answers: &[(u16, &str, Option<Value>)]) -> Value {
    let mut responses = Map::new();
    let unauthorized = (401, "The token is missing or wrong", None);
    for (status, description, body) in answers.iter().chain([&unauthorized]) {
        let body = body.clone();
        let error = || content("application/json", &reference("Error"));
        responses.insert(
            status.to_string(),
            json!({"description": description, "content": body.unwrap_or_else(error)}),
        );
    }
    responses.into()
}

fn content(kind: &str, schema: &Value) -> Value {
    json!({kind: {"schema": schema}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// An object with exactly these properties.
fn object(properties: Value) -> Value {
    let names: Vec<_> = properties
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .collect();
    json!({
        "type": "object", "required": names, "additionalProperties": false,
        "properties": properties,
    })
}

/// A server-sent event.
fn event() -> Value {
    json!({
        "type": "object", "required": ["event", "data"], "additionalProperties": false,
        "properties": {
            "event": {"enum": ["frame", "preview", "progress", "end"]},
            "id": {"type": "string", "description": "The number of a frame."},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
    })
}

fn options(model: &ModelConfig) -> Value {
    let sampling = &model.sampling;
    let steps = model.diffusion.schedule.timesteps - 1;
    let integer = |least: usize, most: usize, text: String| {
        json!({
            "type": ["integer", "null"], "minimum": least, "maximum": most, "description": text,
        })
    };
    let rate = |text: &str| {
        json!({
            "type": ["number", "null"], "minimum": limits::FPS.start(),
            "maximum": limits::FPS.end(), "description": text,
        })
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "Options that are absent or null have the model's defaults.",
        "properties": {
            "frames": integer(1, limits::FRAMES,
                "Frames of the video, including the prefix; by default the prefix and the model's \
                 window.".into()),
            "endless": {"type": "boolean", "default": false,
                "description": "Continue until the video is cancelled or nobody watches it any more."},
            "steps": integer(1, steps,
                format!("Denoising steps per frame, S; by default {}.", sampling.steps)),
            "ar_step": integer(0, steps, format!(
                "Steps that each frame is behind the frame before it, s: 0 denoises all frames \
                 together, S one after another; by default {}.", sampling.ar_step)),
            "guidance": {"type": ["number", "null"], "description": format!(
                "Scale of classifier-free guidance; 1 is none; by default {}.", sampling.guidance)},
            "eta": {"type": ["number", "null"], "minimum": 0, "description": format!(
                "Fresh noise in each step: 0 is none (DDIM), 1 is ancestral (DDPM); by default {}.",
                sampling.eta)},
            "class": {"type": ["string", "null"], "description":
                "Class to generate: its name, or its number from 0 if no class has a number as \
                 its name; by default none."},
            "seed": {"type": "integer", "minimum": 0, "maximum": u64::MAX, "default": 0,
                "description": "Seed of the noise."},
            "prefix_frames": integer(1, limits::FRAMES,
                "Number of frames to take from the end of the prefix; by default all that a new \
                 frame sees."
                    .into()),
            "pace": rate("Frames per second at which the video is made; by default as fast as \
                          possible."),
            "fps": rate("Frames per second of the MP4 file; by default the model's."),
            "scale": integer(1, ar_video::Enlargement::MOST, format!(
                "Factor by which the frames of the MP4 file are enlarged; by default {}.",
                sampling.scale)),
        },
    })
}

fn chosen_options() -> Value {
    object(json!({
        "frames": {"type": ["integer", "null"], "description": "Null for an endless video."},
        "endless": {"type": "boolean"},
        "steps": {"type": "integer"},
        "ar_step": {"type": "integer"},
        "window": {"type": "integer", "description": "Frames of the plan's window."},
        "guidance": {"type": "number"},
        "eta": {"type": "number"},
        "class": {"type": ["integer", "null"]},
        "seed": {"type": "integer"},
        "prefix_frames": {"type": "integer"},
        "pace": {"type": ["number", "null"]},
        "fps": {"type": "number"},
        "scale": {"type": "integer"},
    }))
}

fn video() -> Value {
    object(json!({
        "id": {"type": "integer"},
        "state": {"enum": ["queued", "running", "done", "cancelled", "failed"]},
        "error": {"type": ["string", "null"], "description": "Why it failed."},
        "options": reference("ChosenOptions"),
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "frames_finished": {"type": "integer"},
        "iteration": {"type": "integer"},
        "iterations": {"type": ["integer", "null"], "description": "Null for an endless video."},
        "seconds": {"type": "number", "description": "Since it started, or until it ended."},
        "seconds_left": {"type": ["number", "null"], "description": "Null if unknown."},
    }))
}

fn model_schema() -> Value {
    object(json!({
        "name": {"type": "string"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "window": {"type": "integer", "description": "The most frames that a frame sees."},
        "unbounded": {"type": "boolean",
            "description": "Whether every frame has its own window, so that videos can have any length."},
        "timesteps": {"type": "integer", "description": "`steps` must be smaller."},
        "classes": {"type": "integer"},
        "class_names": {"type": "array", "items": {"type": "string"}},
        "steps": {"type": "integer"},
        "ar_step": {"type": "integer"},
        "guidance": {"type": "number"},
        "eta": {"type": "number"},
        "fps": {"type": "number"},
        "scale": {"type": "integer"},
        "most_frames": {"type": "integer"},
    }))
}
