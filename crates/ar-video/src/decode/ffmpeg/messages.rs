//! ffmpeg's messages, and what they mean.

use std::io::{self, BufRead, BufReader, Read};

/// The most bytes of a line that are kept.
const LONGEST: u64 = 400;

/// Messages for files that end before their video does, in spite of status 0.
const CUT_OFF: [&str; 2] = ["partial file", "File ended prematurely"];

/// The decoders of transport streams, whose complaints are about the video.
const STREAM_DECODERS: [&str; 9] = [
    "h264",
    "hevc",
    "vvc",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "vc1",
    "cavs",
    "libdav1d",
];

/// The relevant messages, cleaned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Messages {
    /// The first one.
    pub first: String,
    /// The first one that means that the video is damaged, whatever the status.
    pub damage: Option<String>,
}

impl Messages {
    /// Reads to the end, so that ffmpeg never waits.
    pub(super) fn read(stream: impl Read, is_transport_stream: bool) -> Self {
        let mut stream = BufReader::new(stream);
        let mut messages = Self::default();
        // A failure to read only loses messages.
        while let Ok(Some(line)) = read_line(&mut stream) {
            messages.add(&Line::new(&line), is_transport_stream);
        }
        messages
    }

    fn add(&mut self, line: &Line, is_transport_stream: bool) {
        let cut_off = CUT_OFF.iter().any(|words| line.text.contains(words));
        let in_stream = line.text.contains("corrupt decoded frame")
            || line.is_error && STREAM_DECODERS.contains(&line.source.as_str());
        if self.damage.is_none() && (cut_off || is_transport_stream && in_stream) {
            self.damage = Some(line.text.clone());
        }
        if self.first.is_empty() && line.is_error {
            self.first = match line.text.strip_prefix("Format not on whitelist") {
                Some(_) => format!("{NOT_LISTED}{}", line.source),
                None => line.text.clone(),
            };
        }
    }
}

/// The text before the name of a demuxer that is not used.
pub(super) const NOT_LISTED: &str = "not on the list of formats: ";

/// `[source @ 0x55ecd785a40] [level] text`, of which all but the text may be missing.
struct Line {
    source: String,
    is_error: bool,
    text: String,
}

impl Line {
    fn new(line: &str) -> Self {
        let mut text = line.trim();
        let mut source = "";
        if let Some((start, rest)) = text.split_once("] ")
            && let Some((name, _)) = start.split_once(" @ 0x")
            && let Some(name) = name.strip_prefix('[')
        {
            (source, text) = (name, rest.trim());
        }
        let mut is_error = true;
        if let Some((level, rest)) = text.split_once("] ")
            && let Some(level) = level.strip_prefix('[')
            && ["warning", "error", "fatal", "panic"].contains(&level)
        {
            is_error = level != "warning";
            text = rest.trim();
        }
        Self {
            source: source.to_owned(),
            is_error,
            text: text.to_owned(),
        }
    }
}

/// The next line, cleaned; only its start if it is very long.
fn read_line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if stream.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        stream.skip_until(b'\n')?;
    }
    Ok(Some(clean(&String::from_utf8_lossy(&line))))
}

/// Text that is safe to print on a terminal: without control characters, escape sequences, and
/// marks that change the writing direction. Files can put all of them into messages.
fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.peek() == Some(&'[') => {
                chars.next();
                // Parameters, then the letter that ends the sequence.
                while chars.next_if(|c| ('\x20'..='\x3f').contains(c)).is_some() {}
                chars.next_if(|c| ('\x40'..='\x7e').contains(c));
            }
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            '\t' => cleaned.push(' '),
            c if c.is_control() => {}
            c => cleaned.push(c),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_transport_stream: bool) -> (String, Option<String>) {
        let Messages { first, damage } = Messages::read(text.as_bytes(), is_transport_stream);
        (first, damage)
    }

    #[test]
    fn the_first_message_counts() {
        let text = "\n[mov,mp4 @ 0x5a] [error] moov atom not found\r\n[error] file:a: Invalid\n";
        assert_eq!(read(text, false), ("moov atom not found".into(), None));
        let text = "file:[a] b: Invalid data";
        assert_eq!(read(text, false), (text.into(), None));
        let text = "[hls @ 0x5] [error] Format not on whitelist 'mov'\n";
        assert_eq!(read(text, false), (format!("{NOT_LISTED}hls"), None));
    }

    #[test]
    fn damage_is_told_with_any_status() {
        for text in ["stream 0: partial file", "File ended prematurely"] {
            let line = format!("[x @ 0x5] [error] first\n[x @ 0x5] [error] {text}\n");
            assert_eq!(read(&line, false), ("first".into(), Some(text.into())));
        }
        let joined = "[mpegts @ 0x5] [warning] Packet corrupt\n\
                      [aac @ 0x5] [error] Input buffer exhausted\n";
        assert_eq!(read(joined, true).1, None);
        for damaged in [
            "[warning] file:a.ts: corrupt decoded frame in stream 0",
            "[h264 @ 0x5] [error] mmco: unref short failure",
        ] {
            assert!(read(damaged, true).1.is_some(), "{damaged}");
            assert!(read(damaged, false).1.is_none(), "{damaged}");
        }
    }

    #[test]
    fn nothing_reaches_a_terminal_but_text() {
        assert_eq!(clean("a\x1b[31;1mred\x1b[0m\x07\x1b]0;t\x1b"), "ared]0;t");
        assert_eq!(clean("\u{9b}31m\u{202e}x\ty\u{7f}ü\r\n"), "31mx yü");
        let long = read(&format!("{}\nnext\n", "x".repeat(5000)), false).0;
        assert_eq!(long.len() as u64, LONGEST);
    }
}
