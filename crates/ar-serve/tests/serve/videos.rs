use std::io::Cursor;

use ar_pipeline::{GenerateOptions, Pipeline};
use ar_video::{Frame, encode_png};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::Device;
use serde_json::Value;

use crate::client::{Event, TestServer};

/// Quick to make.
const SHORT: &str = r#"{"frames": 4, "steps": 4, "ar_step": 2, "seed": 7}"#;
/// Takes minutes.
const LONG: &str = r#"{"frames": 20000, "steps": 50, "ar_step": 50}"#;

fn is(state: &str) -> impl Fn(&Value) -> bool {
    move |video| video["state"] == state
}

/// The pictures of the events called `name`.
fn pixels(png: &Value) -> Vec<u8> {
    let bytes = STANDARD
        .decode(png.as_str().expect("base64"))
        .expect("base64");
    let mut reader = png::Decoder::new(Cursor::new(bytes))
        .read_info()
        .expect("PNG");
    let mut rgb = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut rgb).expect("a picture");
    rgb
}

#[test]
fn a_video_is_made_watched_and_downloaded() {
    let server = TestServer::start();
    let answer = server.post(SHORT);
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), Some("/v1/videos/1"));
    let events: Vec<Event> = server.events(1, "?previews=1", "").collect();
    let (last, others) = events.split_last().expect("events");
    assert_eq!(
        (last.name.as_str(), &last.data["state"]),
        ("end", &"done".into())
    );
    assert_eq!(last.data["frames_finished"], 4);
    assert_eq!(last.data["iterations"], 10);

    // The same frames as the library makes.
    let options = GenerateOptions {
        frames: Some(4),
        steps: Some(4),
        ar_step: Some(2),
        seed: 7,
        ..GenerateOptions::default()
    };
    let pipeline = Pipeline::built_in(&Device::flex()).expect("the built-in model");
    let generation = pipeline.generate(&options).expect("fits");
    let frames = others.iter().filter(|event| event.name == "frame");
    let mut count = 0;
    for (event, expected) in frames.zip(generation.frames()) {
        let expected = expected.expect("sampled");
        assert_eq!(event.data["index"], expected.index);
        assert!(pixels(&event.data["png"]) == expected.frame.rgb());
        count += 1;
    }
    assert_eq!(count, 4);

    let file = server.get("/v1/videos/1/video.mp4");
    assert_eq!(file.status, 200);
    assert_eq!(file.header("content-type"), Some("video/mp4"));
    assert_eq!(file.body.get(4..8), Some(&b"ftyp"[..]));
    let list = server.get("/v1/videos").json();
    assert_eq!(list["videos"].as_array().map(Vec::len), Some(1));
}

#[test]
fn previews_lose_their_noise() {
    let server = TestServer::start();
    let id = server.create(r#"{"frames": 8, "steps": 50, "ar_step": 10, "pace": 20}"#);
    let events = server.events(id, "?previews=1", "");
    let previews: Vec<_> = events.filter(|event| event.name == "preview").collect();
    let mut last = [1.0; 8];
    assert!(previews.len() > 3);
    for event in &previews {
        for frame in event.data["frames"].as_array().expect("frames") {
            let index = frame["index"].as_u64().expect("an index") as usize;
            let level = frame["noise_level"].as_f64().expect("a level");
            assert!(
                level < last[index],
                "frame {index}: {level} after {}",
                last[index]
            );
            last[index] = level;
            assert_eq!(pixels(&frame["png"]).len(), 64 * 64 * 3);
        }
    }
    // A client that does not ask for them gets none.
    let id = server.create(SHORT);
    assert!(
        server
            .events(id, "", "")
            .all(|event| event.name != "preview")
    );
}

#[test]
fn events_go_on_where_a_client_has_stopped() {
    let server = TestServer::start();
    let id = server.create(SHORT);
    server.wait(id, is("done"));
    let indices = |events: Vec<Event>| -> Vec<Value> {
        let frames = events.into_iter().filter(|event| event.name == "frame");
        frames.map(|event| event.data["index"].clone()).collect()
    };
    assert_eq!(indices(server.events(id, "", "").collect()), [0, 1, 2, 3]);
    let after = server.events(id, "", "Last-Event-ID: 1\r\n").collect();
    assert_eq!(indices(after), [2, 3]);
}

#[test]
fn a_cancelled_video_keeps_what_is_finished() {
    let server = TestServer::start();
    let running = server.create(LONG);
    let waiting = server.create(SHORT);
    server.wait(running, |video| video["frames_finished"].as_u64() > Some(1));
    assert_eq!(server.status(waiting)["state"], "queued");
    for id in [waiting, running] {
        let answer = server.send("DELETE", &format!("/v1/videos/{id}"), "", b"");
        assert_eq!(
            (answer.status, &answer.json()["state"]),
            (200, &"cancelled".into())
        );
    }
    let kept = server.status(running)["frames_finished"].as_u64();
    assert!(kept > Some(1));
    assert_eq!(
        server
            .get(&format!("/v1/videos/{running}/video.mp4"))
            .status,
        200
    );
    assert_eq!(
        server
            .get(&format!("/v1/videos/{waiting}/video.mp4"))
            .status,
        409
    );
    assert_eq!(server.status(running)["frames_finished"].as_u64(), kept);
}

#[test]
fn the_queue_is_bounded() {
    let server = TestServer::start();
    let running = server.create(LONG);
    server.wait(running, is("running"));
    let answers: Vec<u16> = (0..20).map(|_| server.post(LONG).status).collect();
    let accepted = answers.iter().filter(|&&status| status == 201).count();
    assert_eq!(accepted, ar_serve::limits::QUEUE);
    let refused = server.post(LONG);
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, Some("2"))
    );
    // There is room again when an earlier video has ended.
    server.send("DELETE", &format!("/v1/videos/{running}"), "", b"");
    server.wait(running + 1, is("running"));
    server.create(LONG);
}

#[test]
fn an_endless_video_goes_at_its_watchers_pace() {
    let server = TestServer::start();
    let id = server.create(r#"{"endless": true, "steps": 4, "ar_step": 2}"#);
    let finished = |video: &Value| video["frames_finished"].as_u64();
    let ahead = ar_serve::limits::AHEAD as u64;
    // Nobody is watching, so it waits.
    server.wait(id, |video| finished(video) == Some(ahead));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(finished(&server.status(id)), Some(ahead));
    // A reader lets it continue, past the frames that are kept.
    let mut frames = server
        .events(id, "", "")
        .filter(|event| event.name == "frame");
    let seen: Vec<Value> = frames
        .by_ref()
        .take(300)
        .map(|event| event.data["index"].clone())
        .collect();
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
    drop(frames);
    let answer = server.send("DELETE", &format!("/v1/videos/{id}"), "", b"");
    assert_eq!(answer.json()["state"], "cancelled");
    assert_eq!(answer.json()["iterations"], Value::Null);
    let late = server
        .events(id, "", "")
        .next()
        .expect("a frame that is kept");
    assert!(late.data["index"].as_u64() > Some(0));
}

#[test]
fn live_places_are_few_and_free_again() {
    let server = TestServer::start();
    let live = r#"{"endless": true}"#;
    let ids: Vec<u64> = (0..ar_serve::limits::LIVE)
        .map(|_| server.create(live))
        .collect();
    assert_eq!(server.post(live).status, 429);
    // They do not block others.
    let short = server.create(SHORT);
    server.wait(short, is("done"));
    server.send("DELETE", &format!("/v1/videos/{}", ids[0]), "", b"");
    // Its slot is free when the work on it has stopped.
    server.wait(ids[0], is("cancelled"));
    server.create(live);
}

#[test]
fn an_uploaded_picture_is_continued() {
    let server = TestServer::start();
    let picture = Frame::new(64, 64, (0..64 * 64 * 3).map(|i| (i % 251) as u8).collect());
    let options = br#"{"frames": 3, "steps": 2, "ar_step": 1}"#;
    let answer = server.post_form(&[
        ("name=\"options\"", options),
        ("name=\"prefix\"; filename=\"a.png\"", &encode_png(&picture)),
    ]);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["options"]["prefix_frames"], 1);
    let first = server.events(1, "", "").next().expect("a frame");
    assert!(pixels(&first.data["png"]) == picture.rgb());
    let done = server.wait(1, is("done"));
    assert_eq!(done["frames_finished"], 3);

    for (parts, message) in [
        (&[("name=\"prefix\"", &b"no video"[..])][..], "the prefix"),
        (&[("name=\"prefix\"", b"")], "the prefix"),
        (&[("name=\"other\"", b"x")], "`other`"),
        (
            &[("name=\"options\"", b"{}"), ("name=\"options\"", b"{}")],
            "each once",
        ),
    ] {
        let answer = server.post_form(parts);
        assert!(
            answer.status == 422 && answer.text().contains(message),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains("/tmp"), "{}", answer.text());
    }
}

#[test]
fn a_stopped_server_ends_its_videos() {
    let mut server = TestServer::start();
    let id = server.create(LONG);
    let queued = server.create(LONG);
    let mut events = server.events(id, "", "");
    events.next().expect("a frame");
    let waiting = server.events(queued, "", "");
    server.stop().expect("ends in peace");
    for events in [events, waiting] {
        let last = events.last().expect("an end");
        assert_eq!(
            (last.name.as_str(), &last.data["state"]),
            ("end", &"cancelled".into())
        );
    }
}
