//! Reads server-sent events from a byte stream, as the HTML standard describes them.

/// One event. Comments (heartbeats) are not events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The cursor to resume from; absent when the frame has none.
    pub id: Option<String>,
    /// The channel; `message` when the frame names none.
    pub event: String,
    pub data: String,
}

/// What is left of a frame between two reads.
#[derive(Default)]
pub struct FrameReader {
    line: Vec<u8>,
    after_carriage_return: bool,
    id: Option<String>,
    event: Option<String>,
    data: Vec<String>,
    /// How long the server wants clients to wait before they come back, in milliseconds.
    pub retry_ms: Option<u64>,
}

/// No frame of the service comes near this; a stream that does is not one.
const LINE_BYTES_MAX: usize = 1 << 20;

impl FrameReader {
    /// The events that `bytes` complete, in order.
    ///
    /// # Errors
    /// A line is longer than a mebibyte.
    pub fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Frame>> {
        let mut frames = Vec::new();
        for &byte in bytes {
            let ends_pair = self.after_carriage_return && byte == b'\n';
            self.after_carriage_return = byte == b'\r';
            match byte {
                b'\n' if ends_pair => (),
                b'\n' | b'\r' => frames.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            anyhow::ensure!(self.line.len() <= LINE_BYTES_MAX, "a line of the stream has no end");
        }
        Ok(frames)
    }

    fn end_line(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_frame();
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => self.event = Some(value.to_owned()),
            "data" => self.data.push(value.to_owned()),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            // A comment, or a field the standard tells readers to skip.
            _ => (),
        }
        None
    }

    fn end_frame(&mut self) -> Option<Frame> {
        let (id, event) = (self.id.take(), self.event.take());
        let data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        let event = event.unwrap_or_else(|| "message".to_owned());
        Some(Frame { id, event, data: data.join("\n") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": connected\n\nretry: 4200\n\nid: c-1\nevent: alerts\ndata: {\"a\":1}\n\n\
                          : beat\n\nevent: session\r\ndata: {\r\ndata: }\r\n\r\nid: c-3\n\n";

    #[test]
    fn events_are_read_and_comments_are_skipped() {
        let mut reader = FrameReader::default();
        assert_eq!(reader.push(STREAM.as_bytes()).unwrap(), expected());
        assert_eq!(reader.retry_ms, Some(4200));
    }

    #[test]
    fn cuts_between_reads_change_nothing() {
        for cut in 1..STREAM.len() {
            let mut reader = FrameReader::default();
            let (first, second) = STREAM.as_bytes().split_at(cut);
            let mut frames = reader.push(first).unwrap();
            frames.extend(reader.push(second).unwrap());
            assert_eq!(frames, expected(), "cut at {cut}");
        }
    }

    #[test]
    fn an_unfinished_event_is_not_reported() {
        let mut reader = FrameReader::default();
        assert!(reader.push(b"event: alerts\ndata: {}\n").unwrap().is_empty());
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = FrameReader::default();
        assert!(reader.push(&vec![b'x'; LINE_BYTES_MAX + 1]).is_err());
    }

    fn expected() -> Vec<Frame> {
        vec![
            Frame { id: Some("c-1".into()), event: "alerts".into(), data: "{\"a\":1}".into() },
            Frame { id: None, event: "session".into(), data: "{\n}".into() },
        ]
    }
}
