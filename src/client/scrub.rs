//! What a program printed, made safe for a terminal as it comes.
//!
//! A log is written by whoever wrote the program, and `logs … | grep error` ends on a terminal as well. So escape
//! sequences are taken out whole, a colour as well as a new title for the window, wherever the text goes; `--raw` is for
//! whoever wants the bytes. A sequence that never ends costs the rest of its line, not of the log.

use super::text::is_hostile;

/// Takes text in pieces, which may begin and end within a character or an escape sequence.
#[derive(Debug, Default)]
pub struct Scrub {
    /// The beginning of a character whose end has yet to come.
    rest: Vec<u8>,
    within: Within,
}

/// Where the last piece ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Within {
    #[default]
    Text,
    /// After a carriage return, which is a line's end, alone or with a line feed.
    Return,
    /// After ESC.
    Escape,
    /// In a control sequence, which its final character ends.
    Control,
    /// In a control string, such as a window's title, which a terminator ends.
    String,
}

impl Scrub {
    /// What of the next piece can be shown.
    pub fn feed(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(piece);
        let mut shown = String::with_capacity(bytes.len());
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            let (text, broken) = match std::str::from_utf8(left) {
                Ok(text) => (text, None),
                Err(err) => {
                    let text = left.get(..err.valid_up_to()).and_then(|it| std::str::from_utf8(it).ok());
                    (text.unwrap_or_default(), Some(err.error_len()))
                }
            };
            text.chars().for_each(|c| self.take(c, &mut shown));
            left = left.get(text.len()..).unwrap_or_default();
            match broken {
                None => {}
                Some(Some(length)) => {
                    self.take(char::REPLACEMENT_CHARACTER, &mut shown);
                    left = left.get(length..).unwrap_or_default();
                }
                Some(None) => {
                    self.rest = left.to_vec();
                    break;
                }
            }
        }
        shown
    }

    fn take(&mut self, c: char, shown: &mut String) {
        use Within::{Control, Escape, Return, String as Title, Text};
        if self.within == Return && c != '\n' {
            shown.push('\n');
        }
        self.within = match (self.within, c) {
            (_, '\n') => {
                shown.push('\n');
                Text
            }
            (_, '\r') => Return,
            (_, '\u{1b}') => Escape,
            (Title, '\u{7}' | '\u{9c}') => Text,
            (Title, _) => Title,
            (Escape, '[') => Control,
            (Escape, ']' | 'P' | 'X' | '^' | '_') => Title,
            (Escape, ' '..='/') => Escape,
            (Escape, '0'..='~') => Text,
            (Control, ' '..='?') => Control,
            (Control, '@'..='~') => Text,
            (_, '\u{9b}') => Control,
            (_, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => Title,
            (_, c) => {
                if c == '\t' || !is_hostile(c) {
                    shown.push(c);
                }
                Text
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &[u8]) -> String {
        Scrub::default().feed(text)
    }

    #[test]
    fn escape_sequences_go_whole_and_the_text_stays() {
        assert_eq!(whole(b"\x1b[1;31mred\x1b[0m plain\tx\n"), "red plain\tx\n");
        assert_eq!(whole(b"a\x1b]0;owned\x07b\x1b]8;;http://x\x1b\\link\n"), "ablink\n");
        assert_eq!(whole("a\u{9b}31mb\u{9d}title\u{9c}c\u{202e}d\u{7f}\u{0}".as_bytes()), "abcd");
        assert_eq!(whole(b"a\x1b(Bb\x1bcc"), "abc");
        assert_eq!(whole("größe 名前 🚢\n".as_bytes()), "größe 名前 🚢\n");
    }

    #[test]
    fn a_carriage_return_ends_a_line_and_overwrites_nothing() {
        assert_eq!(whole(b"10%\r20%\rdone\r\nnext\r"), "10%\n20%\ndone\nnext");
    }

    #[test]
    fn a_sequence_without_an_end_costs_its_line_only() {
        assert_eq!(whole(b"a\x1b]0;for ever\nb\x1b[1;\nc"), "a\nb\nc");
    }

    #[test]
    fn it_does_not_matter_where_the_text_is_cut() {
        let text = "a\u{1b}[31mö\u{1b}[0m\r\n名\u{9b}1m\u{1b}]0;x\u{7}🚢\n".as_bytes();
        for at in 0..text.len() {
            let (before, after) = text.split_at(at);
            let mut scrub = Scrub::default();
            assert_eq!(scrub.feed(before) + &scrub.feed(after), "aö\n名🚢\n", "cut at {at}");
        }
        assert_eq!(whole(b"a\xff\xc3(\n"), "a\u{fffd}\u{fffd}(\n");
    }
}
