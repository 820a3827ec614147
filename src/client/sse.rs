//! Server-sent events, as they come in pieces that may begin and end anywhere. Pure.

/// The longest line of a stream, in bytes: many times the longest event, and far below what fills the memory.
const LINE_BYTES: usize = 1024 * 1024;

/// What the stream said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Where to go on after it.
    pub id: Option<String>,
    /// Nothing: it only says where to go on.
    pub data: Option<String>,
}

/// Takes pieces, gives messages.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    message: Message,
}

/// The stream has a line that is too long to be one of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Reader {
    /// The messages that this piece ends.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Vec<Message>, TooLong> {
        let mut messages = Vec::new();
        for part in piece.split_inclusive(|it| *it == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() > LINE_BYTES {
                return Err(TooLong);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                messages.extend(self.take(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])));
            }
        }
        Ok(messages)
    }

    fn take(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            return Some(std::mem::take(&mut self.message)).filter(|it| *it != Message::default());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.message.data) {
            ("id", _) => self.message.id = Some(value.into()),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", data) => *data = Some(value.into()),
            // A comment, which keeps the connection alive; the event's name, which its data says as well; and how soon to come
            // back, which is our own affair.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, data: Option<&str>) -> Message {
        Message { id: Some(id.into()), data: data.map(str::to_owned) }
    }

    #[test]
    fn it_does_not_matter_where_the_stream_is_cut() {
        let text = "retry: 1000\nid: 1\n\n: nothing new\nid: 2\n\nid: 3_4\r\nevent: x\ndata: {\"a\": \"ö:b\"}\r\n\ndata\ndata: b\n\n";
        let expected = [
            message("1", None),
            message("2", None),
            message("3_4", Some("{\"a\": \"ö:b\"}")),
            Message { id: None, data: Some("\nb".into()) },
        ];
        for at in 0..text.len() {
            let (before, after) = text.as_bytes().split_at(at);
            let mut reader = Reader::default();
            let mut messages = reader.feed(before).unwrap();
            messages.extend(reader.feed(after).unwrap());
            assert_eq!(messages, expected, "cut at {at}");
        }
    }

    #[test]
    fn an_unfinished_message_is_none_and_an_endless_line_is_stopped() {
        assert_eq!(Reader::default().feed(b"id: 1\ndata: x\n"), Ok(vec![]));
        assert_eq!(Reader::default().feed(&vec![b'x'; LINE_BYTES + 1]), Err(TooLong));
    }
}
