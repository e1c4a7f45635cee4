//! A server of the built-in model, and a minimal client.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ar_pipeline::Pipeline;
use ar_serve::{ServeError, Server, ServerOptions, Stopper};
use burn::tensor::Device;
use serde_json::Value;

/// Time after which a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that stops when the test ends.
pub(crate) struct TestServer {
    pub address: SocketAddr,
    pub token: String,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// An answer.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A server-sent event.
#[derive(Debug)]
pub(crate) struct Event {
    pub name: String,
    pub data: Value,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        let pipeline = Pipeline::built_in(&Device::flex()).expect("the built-in model");
        let server = Server::bind(&pipeline, &ServerOptions::default()).expect("a free port");
        Self {
            address: server.address(),
            token: server.token().as_str().to_owned(),
            stopper: server.stopper(),
            thread: Some(thread::spawn(move || server.run())),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// Sends a request with the token, `headers` and `body`.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let token = &self.token;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        // A server that refuses the request does not read the rest.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
        Answer::read(BufReader::new(stream)).expect("an answer")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"")
    }

    pub(crate) fn post(&self, json: &str) -> Answer {
        let headers = "Content-Type: application/json\r\n";
        self.send("POST", "/v1/videos", headers, json.as_bytes())
    }

    /// Posts a form with parts of headers and content.
    pub(crate) fn post_form(&self, parts: &[(&str, &[u8])]) -> Answer {
        let mut body = Vec::new();
        for (headers, content) in parts {
            body.extend(
                format!("--xyz\r\nContent-Disposition: form-data; {headers}\r\n\r\n").bytes(),
            );
            body.extend_from_slice(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--xyz--\r\n");
        let headers = "Content-Type: multipart/form-data; boundary=xyz\r\n";
        self.send("POST", "/v1/videos", headers, &body)
    }

    /// The number of a new video.
    pub(crate) fn create(&self, json: &str) -> u64 {
        let answer = self.post(json);
        assert_eq!(answer.status, 201, "{json}: {}", answer.text());
        answer.json()["id"].as_u64().expect("a number")
    }

    pub(crate) fn status(&self, id: u64) -> Value {
        self.get(&format!("/v1/videos/{id}")).json()
    }

    /// Waits until `is_so` holds for a video.
    pub(crate) fn wait(&self, id: u64, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status(id);
            if is_so(&status) {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{status}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The events of a video, as they arrive.
    pub(crate) fn events(&self, id: u64, query: &str, headers: &str) -> Events {
        let mut stream = self.connect();
        let token = &self.token;
        let head = format!(
            "GET /v1/videos/{id}/events{query} HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut reader = BufReader::new(stream);
        let (status, _) = read_head(&mut reader).expect("a head");
        assert_eq!(status, 200);
        Events {
            reader,
            text: String::new(),
        }
    }

    /// Stops the server.
    pub(crate) fn stop(&mut self) -> Result<(), ServeError> {
        self.stopper.stop();
        let thread = self.thread.take().expect("stopped once");
        thread.join().expect("no panic")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok_and(|ended| ended.is_ok()));
        }
    }
}

impl Answer {
    pub(crate) fn read(mut reader: impl BufRead) -> io::Result<Self> {
        let (status, headers) = read_head(&mut reader)?;
        let mut body = Vec::new();
        let is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        if is_chunked {
            while let Some(chunk) = read_chunk(&mut reader)? {
                body.extend(chunk);
            }
        } else {
            reader.read_to_end(&mut body)?;
        }
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Server-sent events in chunks.
pub(crate) struct Events {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::to_owned)
                };
                let event = field("event: ").zip(field("data: "));
                self.text = rest.to_owned();
                match event {
                    None => continue,
                    Some((name, data)) => {
                        let data = serde_json::from_str(&data).expect("JSON");
                        return Some(Event { name, data });
                    }
                }
            }
            let chunk = read_chunk(&mut self.reader).expect("a chunk")?;
            self.text += std::str::from_utf8(&chunk).expect("text");
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok((status, headers));
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

fn read_chunk(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(length);
    Ok((length > 0).then_some(chunk))
}
