//! Takes a JSON array, or lines of JSON, apart into its items while it arrives, so that no more of it need be in memory than
//! one item. What is in an item is for others to read.

/// How the items come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Array,
    Lines,
}

/// Why there are no more items though the body goes on, or the other way round.
#[derive(Debug, PartialEq, Eq)]
pub enum Broken {
    /// An item is larger than the limit.
    TooLarge,
    /// The array was not closed.
    Unfinished,
    /// Something comes after the array.
    After,
}

/// A body that arrives in pieces.
pub struct Items {
    most_bytes: usize,
    form: Option<Form>,
    /// What has arrived and was not handed out.
    buffer: Vec<u8>,
    /// How much of the buffer was looked at.
    looked: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Whether the array is over.
    closed: bool,
    /// Whether anything came before the comma or bracket that is awaited.
    after_comma: bool,
}

impl Items {
    /// `most_bytes`: the largest item.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            form: None,
            buffer: Vec::new(),
            looked: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            closed: false,
            after_comma: false,
        }
    }

    /// What the body turned out to be; lines, as long as nothing has come.
    pub fn form(&self) -> Form {
        self.form.unwrap_or(Form::Lines)
    }

    /// Takes in the next piece of the body, and hands out the items that it completes.
    pub fn push(&mut self, piece: &[u8], mut item: impl FnMut(&[u8])) -> Result<(), Broken> {
        self.buffer.extend_from_slice(piece);
        if self.form.is_none() {
            let blank = self.buffer.iter().take_while(|it| it.is_ascii_whitespace()).count();
            self.buffer.drain(..blank);
            match self.buffer.first() {
                None => return Ok(()),
                Some(b'[') => {
                    self.form = Some(Form::Array);
                    self.buffer.remove(0);
                }
                Some(_) => self.form = Some(Form::Lines),
            }
        }
        let mut begun = 0;
        while let Some(end) = self.next_end() {
            let found = self.buffer[begun..end].trim_ascii();
            let is_last = self.form == Some(Form::Array) && self.closed;
            let blank = found.is_empty() && (self.form == Some(Form::Lines) || (is_last && !self.after_comma));
            self.after_comma = self.form == Some(Form::Array) && !is_last;
            if found.len() > self.most_bytes {
                return Err(Broken::TooLarge);
            }
            if !blank {
                item(found);
            }
            begun = end + 1;
        }
        self.buffer.drain(..begun);
        self.looked -= begun;
        match self.closed {
            true if self.buffer.iter().any(|it| !it.is_ascii_whitespace()) => Err(Broken::After),
            _ if self.buffer.len() > self.most_bytes => Err(Broken::TooLarge),
            _ => Ok(()),
        }
    }

    /// The body is over: hands out the last line, which need not end in a line feed.
    pub fn finish(mut self, item: impl FnMut(&[u8])) -> Result<Form, Broken> {
        match self.form {
            Some(Form::Array) if !self.closed => Err(Broken::Unfinished),
            Some(Form::Lines) => self.push(b"\n", item).map(|()| Form::Lines),
            form => Ok(form.unwrap_or(Form::Lines)),
        }
    }

    /// Where the next item ends, if all of it has arrived.
    fn next_end(&mut self) -> Option<usize> {
        while let Some(byte) = self.buffer.get(self.looked).copied().filter(|_| !self.closed) {
            let at = self.looked;
            self.looked += 1;
            if self.form == Some(Form::Lines) {
                if byte == b'\n' {
                    return Some(at);
                }
            } else if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                self.escaped = byte == b'\\';
                self.in_string = byte != b'"';
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth > 0 => self.depth -= 1,
                    b']' => {
                        self.closed = true;
                        return Some(at);
                    }
                    b',' if self.depth == 0 => return Some(at),
                    _ => {}
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, piece: usize) -> (Vec<String>, Result<Form, Broken>) {
        let mut items = Items::new(1000);
        let mut found = Vec::new();
        let mut keep = |it: &[u8]| found.push(String::from_utf8_lossy(it).into_owned());
        for piece in text.as_bytes().chunks(piece) {
            if let Err(broken) = items.push(piece, &mut keep) {
                return (found, Err(broken));
            }
        }
        let form = items.finish(&mut keep);
        (found, form)
    }

    #[test]
    fn arrays_and_lines_are_taken_apart_wherever_they_are_cut() {
        for piece in [1, 2, 7, 1000] {
            let array = r#" [ {"a": "]},\"[{"} , 2,[3,[4]] ] "#;
            assert_eq!(
                read(array, piece),
                (vec![r#"{"a": "]},\"[{"}"#.into(), "2".into(), "[3,[4]]".into()], Ok(Form::Array))
            );
            let lines = "{\"a\": 1}\r\n\n {\"b\": \"x,]\"}\n{}";
            assert_eq!(
                read(lines, piece),
                (vec!["{\"a\": 1}".into(), "{\"b\": \"x,]\"}".into(), "{}".into()], Ok(Form::Lines))
            );
            assert_eq!(read("[]", piece), (vec![], Ok(Form::Array)));
            assert_eq!(read("", piece), (vec![], Ok(Form::Lines)));
            assert_eq!(read("[1,]", piece), (vec!["1".into(), String::new()], Ok(Form::Array)));
            assert_eq!(read("[1", piece), (vec![], Err(Broken::Unfinished)));
            assert_eq!(read("[1] 2", piece), (vec!["1".into()], Err(Broken::After)));
        }
        assert_eq!(read(&"x".repeat(1001), 10).1, Err(Broken::TooLarge));
    }

    proptest! {
        #[test]
        fn every_array_is_the_sum_of_its_items(values in prop::collection::vec(any::<(String, i32)>(), 0..20), piece in 1..50_usize) {
            let whole = serde_json::to_string_pretty(&values).unwrap();
            let items: Vec<(String, i32)> = read(&whole, piece).0.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
            prop_assert_eq!(items, values);
        }
    }
}
