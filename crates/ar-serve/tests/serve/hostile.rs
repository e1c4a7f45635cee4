//! Malicious and careless clients.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use crate::client::{Answer, TestServer};

#[test]
fn without_the_token_nothing_is_told() {
    let server = TestServer::start();
    let ask = |path: &str, header: &str| {
        let mut stream = server.connect();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
        )
        .unwrap();
        Answer::read(BufReader::new(stream))
            .expect("an answer")
            .status
    };
    for path in [
        "/v1/model",
        "/v1/videos",
        "/v1/videos/1",
        "/v1/videos/1/events",
        "/metrics",
    ] {
        assert_eq!(ask(path, ""), 401);
        for wrong in ["Bearer ", "Bearer 0123456789abcdef", "Basic eDp5"] {
            assert_eq!(ask(path, &format!("Authorization: {wrong}\r\n")), 401);
        }
        assert_eq!(ask(&format!("{path}?token=x"), ""), 401);
    }
    assert_eq!(ask(&format!("/v1/model?token={}", server.token), ""), 200);
    for path in ["/", "/app.js", "/docs", "/healthz", "/v1/openapi.json"] {
        assert_eq!(ask(path, ""), 200, "{path}");
    }
}

#[test]
fn nonsense_is_answered() {
    let server = TestServer::start();
    let json = "Content-Type: application/json\r\n";
    for (method, path, headers, body, status) in [
        ("GET", "/nowhere", "", &b""[..], 404),
        ("GET", "/v1/videos/1", "", b"", 404),
        ("GET", "/v1/videos/x", "", b"", 400),
        ("GET", "/v1/videos/+1", "", b"", 400),
        ("GET", "/v1/videos/99999999999999999999999", "", b"", 400),
        ("DELETE", "/v1/videos/7", "", b"", 404),
        ("PUT", "/v1/videos", "", b"", 405),
        ("POST", "/v1/videos", "", b"{}", 415),
        (
            "POST",
            "/v1/videos",
            "Content-Type: text/plain\r\n",
            b"{}",
            415,
        ),
        ("POST", "/v1/videos", json, b"", 400),
        ("POST", "/v1/videos", json, b" [1]", 422),
        ("POST", "/v1/videos", json, b"\xff\xfe", 400),
        ("POST", "/v1/videos", json, b"{\"frames\": 1e40}", 422),
        (
            "POST",
            "/v1/videos",
            "Content-Type: multipart/form-data\r\n",
            b"x",
            400,
        ),
        (
            "POST",
            "/v1/videos",
            "Content-Type: multipart/form-data; boundary=a\r\n",
            b"--b",
            400,
        ),
    ] {
        let answer = server.send(method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(answer.json()["error"].is_string(), "{method} {path}");
    }
    let deep = "[".repeat(60_000);
    assert_eq!(server.post(&deep).status, 422);
    let id = server.create(r#"{"frames": 1, "steps": 1, "ar_step": 0}"#);
    for (query, headers) in [("?previews=yes", ""), ("", "Last-Event-ID: x\r\n")] {
        let path = format!("/v1/videos/{id}/events{query}");
        assert_eq!(server.send("GET", &path, headers, b"").status, 400);
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn what_is_too_large_is_refused_while_it_is_sent() {
    let server = TestServer::start();
    assert_eq!(server.post(&" ".repeat(100_000)).status, 413);
    // An upload that claims to have ten gigabytes.
    let mut stream = server.connect();
    let token = &server.token;
    write!(
        stream,
        "POST /v1/videos HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=a\r\nContent-Length: 10000000000\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    BufReader::new(&stream)
        .take(20)
        .read_to_string(&mut answer)
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // An upload that does not declare its size.
    let stream = server.connect();
    let mut sender = stream.try_clone().expect("a second handle");
    write!(
        sender,
        "POST /v1/videos HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=a\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .expect("sent");
    let sending = std::thread::spawn(move || {
        let head = b"--a\r\nContent-Disposition: form-data; name=\"prefix\"\r\n\r\n";
        let _ = write!(
            sender,
            "{:x}\r\n{}\r\n",
            head.len(),
            String::from_utf8_lossy(head)
        );
        let piece = vec![0; 1 << 20];
        // More than any machine can receive while the server lingers.
        for _ in 0..500_000 {
            let sent = write!(sender, "{:x}\r\n", piece.len())
                .and_then(|()| sender.write_all(&piece))
                .and_then(|()| sender.write_all(b"\r\n"));
            if sent.is_err() {
                return true;
            }
        }
        false
    });
    let answer = Answer::read(BufReader::new(stream)).expect("an answer");
    assert_eq!(answer.status, 413);
    assert!(sending.join().expect("no panic"), "it took 500 gigabytes");
}

#[test]
fn crowds_are_told_to_come_back() {
    let server = TestServer::start();
    let ask = |stream: &mut TcpStream| {
        write!(
            stream,
            "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .expect("sent");
    };
    let mut streams: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    streams.iter_mut().for_each(ask);
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for stream in streams {
        let answer = Answer::read(BufReader::new(stream)).expect("an answer");
        *statuses.entry(answer.status).or_default() += 1;
    }
    assert_eq!(statuses.values().sum::<usize>(), 200);
    assert!(
        statuses.keys().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    // Connections are free again as soon as the server has noticed that the clients have left.
    let start = std::time::Instant::now();
    while server.get("/healthz").status != 200 {
        assert!(start.elapsed() < 2 * ar_serve::limits::HEADER_TIME);
    }
}

#[test]
fn connections_that_say_nothing_hold_no_place_for_long() {
    let server = TestServer::start();
    let silent: Vec<TcpStream> = (0..ar_serve::limits::CONNECTIONS)
        .map(|_| server.connect())
        .collect();
    // One more, when all connections are in use.
    let mut one_more = server.connect();
    one_more
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    let answer = Answer::read(BufReader::new(one_more)).expect("an answer");
    assert_eq!(answer.status, 503);
    let start = std::time::Instant::now();
    for mut stream in silent {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    let most = ar_serve::limits::HEADER_TIME * 2;
    assert!(start.elapsed() < most, "{:?}", start.elapsed());
    assert_eq!(server.get("/healthz").status, 200);
}
